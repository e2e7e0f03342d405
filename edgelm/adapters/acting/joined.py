"""The LoRA layers of several adapters as one: two products for all rows of a batch, however many adapters act on them.

The factors stand side by side along the rank, and what a row's other adapters give is struck out between the two products:
`y + (where(own, x · [A₁ A₂ …], 0) · scales) · [B₁; B₂; …]`. A step of a batch needs a handful of kernels for each module that
way; one product after the other for each adapter needs as many times more.

Shapes: I inputs, O outputs, R ranks of all adapters together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm.adapters.acting.variant import LoadedAdapter
from edgelm.zoo.lora import is_plain_lora

Parts = tuple[tuple[int, int, float], ...]
"""For each adapter on a module, which of the joined it is, its rank and its scale."""


@dataclass(frozen=True, slots=True)
class JoinedLayer:
    """What acts on one module."""

    first: mx.array
    """[I, R]."""
    second: mx.array
    """[R, O]."""
    parts: Parts


class JoinedAdapters:
    """Several adapters, joined module by module when a module is first computed."""

    def __init__(self, adapters: tuple[LoadedAdapter, ...]) -> None:
        self.adapters = adapters
        self._layers: dict[str, JoinedLayer | None] = {}

    def at(self, path: str) -> JoinedLayer | None:
        """Return what acts on the module at `path`; None where something does that is no plain LoRA."""
        if path not in self._layers:
            self._layers[path] = self._join(path)
        return self._layers[path]

    def _join(self, path: str) -> JoinedLayer | None:
        found: list[tuple[int, Any]] = [
            (at, each.layers[path]) for at, each in enumerate(self.adapters) if path in each.layers
        ]
        layers = [layer for _, layer in found]
        if not layers or not all(map(is_plain_lora, layers)):
            return None
        parts = tuple((at, int(layer.lora_a.shape[1]), float(layer.scale)) for at, layer in found)
        first, second = [layer.lora_a for layer in layers], [layer.lora_b for layer in layers]
        joined = JoinedLayer(mx.concatenate(first, axis=1), mx.concatenate(second, axis=0), parts)
        mx.eval(joined.first, joined.second)
        return joined
