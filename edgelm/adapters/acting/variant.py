"""What a request wants of the network: the adapters that act on its row, and how strongly.

Rows of one batch may be of different variants; what was computed of one is never used for another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LoadedAdapter:
    """An adapter whose layers are in memory, as long as somebody holds it."""

    name: str
    fingerprint: str
    """Tells its weights from those of other adapters."""
    layers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """mlx-lm's adapter layers around the network's modules, by path."""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """The network with some adapters, or with none."""

    key: str = ""
    """What caches are told apart by: the same for what computes the same. Empty is the base."""
    acting: tuple[tuple[LoadedAdapter, float], ...] = field(default=(), repr=False)
    """Who acts, and with which weight."""

    def layers_at(self, path: str) -> list[tuple[Any, float]]:
        """Return the layers that act on the module at `path`, with their weights."""
        return [(each.layers[path], weight) for each, weight in self.acting if path in each.layers]

    def touches(self, paths: Iterable[str]) -> bool:
        """Return whether a layer acts on one of the modules at `paths`."""
        return any(path in each.layers for path in paths for each, _ in self.acting)


def variant_key(acting: Iterable[tuple[str, float]]) -> str:
    """Return the key of a variant under which adapters act, by fingerprint and weight; those of weight 0 do not."""
    said = sorted((fingerprint, weight) for fingerprint, weight in acting if weight)
    return json.dumps(said) if said else ""
