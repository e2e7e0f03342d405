"""Teaching a model: data, batches, methods, the loop, adapters and what it will cost.

The package can be called: `edgelm.tune("model", "examples.jsonl")` is `edgelm.tune.api.tune`, since the name of the
function and that of the package that holds it are one.
"""

import sys
import types
from typing import Any

from edgelm.blas import preload_blas

preload_blas()


class _Package(types.ModuleType):
    def __call__(self, *args: Any, **settings: Any) -> Any:
        """See `edgelm.tune.api.tune`."""
        from edgelm.tune.api import tune

        return tune(*args, **settings)


sys.modules[__name__].__class__ = _Package
