"""edgelm: convert, chat, tune, judge and share language models on one laptop.

    import edgelm

    edgelm.convert("smollm2")
    with edgelm.load("smollm2-135m-instruct-4bit") as model:
        print(model.generate("The capital of France is", max_tokens=20).text)

The names below are the public API (docs/python.md); each is imported when first used (PEP 562), so that `import edgelm` costs
next to nothing.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING

from edgelm.version import __version__

if TYPE_CHECKING:
    from edgelm.api import Model as Model
    from edgelm.api import load as load
    from edgelm.arena.arena import Arena as Arena
    from edgelm.arena.contestants import Contestant as Contestant
    from edgelm.arena_api import arena as arena
    from edgelm.errors import EdgeLMError as EdgeLMError
    from edgelm.errors import EngineError as EngineError
    from edgelm.errors import FitError as FitError
    from edgelm.errors import FormatError as FormatError
    from edgelm.errors import Interrupted as Interrupted
    from edgelm.errors import NetworkError as NetworkError
    from edgelm.errors import NotFoundError as NotFoundError
    from edgelm.errors import OptionError as OptionError
    from edgelm.errors import OutputError as OutputError
    from edgelm.errors import PromptError as PromptError
    from edgelm.errors import RewardError as RewardError
    from edgelm.errors import UnsafeError as UnsafeError
    from edgelm.errors import UnsupportedError as UnsupportedError
    from edgelm.progress import Progress as Progress
    from edgelm.runtime.chat.chat import Chat as Chat
    from edgelm.runtime.chat.tool_loop import ToolResult as ToolResult
    from edgelm.runtime.constraints.grammar import Grammar as Grammar
    from edgelm.runtime.events import Alternative as Alternative
    from edgelm.runtime.events import Finished as Finished
    from edgelm.runtime.events import HistoryRewritten as HistoryRewritten
    from edgelm.runtime.events import OtherAnswer as OtherAnswer
    from edgelm.runtime.events import Picked as Picked
    from edgelm.runtime.events import Prefill as Prefill
    from edgelm.runtime.events import Text as Text
    from edgelm.runtime.events import Token as Token
    from edgelm.runtime.events import ToolCall as ToolCall
    from edgelm.runtime.events import Usage as Usage
    from edgelm.runtime.generation.completion import Completion as Completion
    from edgelm.runtime.generation.options import GenerationOptions as GenerationOptions
    from edgelm.runtime.generation.typed import GenerationSettings as GenerationSettings
    from edgelm.runtime.many.results import BatchResult as BatchResult
    from edgelm.runtime.sampling.settings import Sampling as Sampling
    from edgelm.server.run import asgi_app as asgi_app
    from edgelm.server.run import serve as serve
    from edgelm.text.tools.tool import Tool as Tool
    from edgelm.tune.api import TuneResult as TuneResult
    from edgelm.tune.api import resume_tune as resume_tune
    from edgelm.tune.api import tune as tune
    from edgelm_converters.convert import Converted as Converted
    from edgelm_converters.convert import convert as convert

_NAMES_IN = {
    "edgelm.api": ("Model", "load"),
    "edgelm.arena.arena": ("Arena",),
    "edgelm.arena.contestants": ("Contestant",),
    "edgelm.arena_api": ("arena",),
    "edgelm.errors": (
        "EdgeLMError", "EngineError", "FitError", "FormatError", "Interrupted", "NetworkError", "NotFoundError",
        "OptionError", "OutputError", "PromptError", "RewardError", "UnsafeError", "UnsupportedError",
    ),
    "edgelm.progress": ("Progress",),
    "edgelm.runtime.many.results": ("BatchResult",),
    "edgelm.runtime.chat.chat": ("Chat",),
    "edgelm.runtime.constraints.grammar": ("Grammar",),
    "edgelm.runtime.events": (
        "Alternative", "Finished", "HistoryRewritten", "OtherAnswer", "Picked", "Prefill", "Text", "Token", "ToolCall", "Usage",
    ),
    "edgelm.runtime.generation.completion": ("Completion",),
    "edgelm.runtime.generation.options": ("GenerationOptions",),
    "edgelm.runtime.sampling.settings": ("Sampling",),
    "edgelm.runtime.generation.typed": ("GenerationSettings",),
    "edgelm.runtime.chat.tool_loop": ("ToolResult",),
    "edgelm.server.run": ("asgi_app", "serve"),
    "edgelm.text.tools.tool": ("Tool",),
    "edgelm.tune.api": ("TuneResult", "resume_tune", "tune"),
    "edgelm_converters.convert": ("Converted", "convert"),
}  # fmt: skip
_PACKAGES_TOO = ("arena", "tune")
_HOMES = {name: home for home, names in _NAMES_IN.items() for name in names}

__all__ = [
    "Alternative",
    "Arena",
    "BatchResult",
    "Chat",
    "Completion",
    "Contestant",
    "Converted",
    "EdgeLMError",
    "EngineError",
    "Finished",
    "FitError",
    "FormatError",
    "GenerationOptions",
    "GenerationSettings",
    "Grammar",
    "HistoryRewritten",
    "Interrupted",
    "Model",
    "NetworkError",
    "NotFoundError",
    "OptionError",
    "OtherAnswer",
    "OutputError",
    "Picked",
    "Prefill",
    "Progress",
    "PromptError",
    "RewardError",
    "Sampling",
    "Text",
    "Token",
    "Tool",
    "ToolCall",
    "ToolResult",
    "TuneResult",
    "UnsafeError",
    "UnsupportedError",
    "Usage",
    "__version__",
    "arena",
    "asgi_app",
    "convert",
    "load",
    "resume_tune",
    "serve",
    "tune",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgelm' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    if name in _PACKAGES_TOO:
        # The package of that name is reached through the function too: `import edgelm.tune.api as api` looks there.
        value.__dict__ = vars(sys.modules[f"edgelm.{name}"])
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Facade(types.ModuleType):
    """Keeps `edgelm.tune` and `edgelm.arena` functions: importing anything of a package of that name would put it there."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Facade
