"""Every key of the app: which classes have bindings, and the ids that config.toml may name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

from textual.binding import Binding
from textual.dom import DOMNode


def bound_classes() -> list[type[DOMNode]]:
    """List the screens and widgets of edgelm that declare bindings."""
    return [kind for kind in every_widget_class() if kind.__dict__.get("BINDINGS")]


def every_widget_class() -> list[type[DOMNode]]:
    """List the screens and widgets of edgelm."""
    return sorted(set(_classes()), key=lambda kind: kind.__qualname__)


def binding_ids() -> set[str]:
    """Collect the ids of all bindings."""
    return {
        binding.id
        for kind in bound_classes()
        for binding in kind.__dict__["BINDINGS"]
        if isinstance(binding, Binding) and binding.id
    }


def _classes() -> Iterator[type[DOMNode]]:
    import edgelm_tui

    for info in pkgutil.walk_packages(edgelm_tui.__path__, "edgelm_tui."):
        if info.name.rpartition(".")[2] in ("child", "web"):
            continue
        module = importlib.import_module(info.name)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and issubclass(kind, DOMNode):
                yield kind
