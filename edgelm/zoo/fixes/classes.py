"""Classes of one network at hand, so that mlx-lm's own stay as they are for every other network."""

from __future__ import annotations

from typing import Any


def derived(kind: type, **methods: Any) -> type:
    """Return a class that is `kind` but for `methods`; it goes by the same name and module, as messages and files expect."""
    return type(kind.__name__, (kind,), {**methods, "__module__": kind.__module__})
