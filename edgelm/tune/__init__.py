"""Teaching a model: data, batches, methods, the loop, adapters and what it will cost.

`edgelm.tune` is the function that `edgelm.tune.api` defines (see `edgelm/__init__.py`); import what lies in here by name, as
`from edgelm.runs.events import TuneEvent`.
"""

from edgelm.blas import preload_blas

preload_blas()
