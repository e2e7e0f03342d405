"""edgelm: convert, chat, tune, judge and share language models on one laptop.

    import edgelm

    edgelm.convert("smollm2")
    with edgelm.load("smollm2-135m-instruct-4bit") as model:
        print(model.generate("The capital of France is", max_tokens=20).text)

The names below are the public API; each is imported when first used (PEP 562), so that `import edgelm`
costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from edgelm.version import __version__

if TYPE_CHECKING:
    from edgelm.api import Model as Model
    from edgelm.api import load as load
    from edgelm.errors import EdgeLMError as EdgeLMError
    from edgelm.runtime.sampling import Sampling as Sampling
    from edgelm_converters.convert import convert as convert

_HOMES = {
    "EdgeLMError": "edgelm.errors",
    "Model": "edgelm.api",
    "Sampling": "edgelm.runtime.sampling",
    "convert": "edgelm_converters.convert",
    "load": "edgelm.api",
    "tune": "edgelm.tune",
}

__all__ = ["EdgeLMError", "Model", "Sampling", "__version__", "convert", "load", "tune"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgelm' has no attribute {name!r}")
    if name == "tune":  # a package that can be called
        return importlib.import_module("edgelm.tune")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
