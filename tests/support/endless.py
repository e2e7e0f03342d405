"""A model whose answers end by their length alone, as a peer's do that is told of no end."""

from __future__ import annotations

import edgelm


def without_stops(model: edgelm.Model) -> None:
    """Let no token end this model's answers."""

    def forget(ready: object) -> None:
        object.__setattr__(ready.loaded, "stop_tokens", frozenset())  # type: ignore[attr-defined]

    model._thread.call(forget)
