"""Teaching a model: data, batches, methods, the loop, adapters and what it will cost."""

from edgelm.device import preload_blas

preload_blas()
