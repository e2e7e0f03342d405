"""Watching and steering a network from outside, through the calls of its own modules.

Python looks `__call__` up on the class, so an instance is given a subclass of its own: it keeps its attributes,
its parameters and its kind, and no architecture needs to know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]
Handler = Callable[[Call, tuple[Any, ...], dict[str, Any]], Any]
"""(what the module does itself, positional arguments, named arguments) → what the caller gets."""


def hook(module: Any, handle: Handler) -> None:
    """Make a call of `module` call `handle(own, arguments, named)`, where `own` is what it did before."""
    kind: Any = type(module)

    class Hooked(kind):  # type: ignore[misc]
        def __call__(self, *arguments: Any, **named: Any) -> Any:
            return handle(super().__call__, arguments, named)

    Hooked.__name__ = kind.__name__
    module.__class__ = Hooked


def hook_method(module: Any, name: str, handle: Handler) -> None:
    """Do the same for another method of `module`, such as an embedding's `as_linear`."""
    own = getattr(module, name)

    def replaced(*arguments: Any, **named: Any) -> Any:
        return handle(own, arguments, named)

    # Past nn.Module's own bookkeeping: a method is no parameter.
    object.__setattr__(module, name, replaced)
