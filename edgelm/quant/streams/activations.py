"""What flows between layers, for every batch of calibration text: in memory up to a budget, beyond it on disk.

Values are trees of arrays (a layer may return more than its hidden states). Whether one was spilled changes
nothing in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from edgelm.atomic import disk_errors

Key = tuple[str, int]
"""(stream, batch)."""


class Activations:
    """A dictionary of array trees that keeps at most `budget_bytes` of them in memory."""

    def __init__(self, budget_bytes: int, directory: Path) -> None:
        self._budget_bytes, self._directory = budget_bytes, directory
        self._held: dict[Key, dict[str, Any]] = {}
        self._spilled: dict[Key, list[tuple[str, Any]]] = {}
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes that are in memory now."""
        return self._held_bytes

    @property
    def spilled(self) -> int:
        """How many values are on the disk now."""
        return len(self._spilled)

    def put(self, key: Key, tree: dict[str, Any]) -> None:
        """Keep `tree` under `key`, evaluated, in place of what was there."""
        self.drop(key)
        mx.eval(tree)
        size = _size_bytes(tree)
        if self._held_bytes + size <= self._budget_bytes:
            self._held[key] = tree
            self._held_bytes += size
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        flat: Any = tree_flatten(tree)
        with disk_errors(self._path(key)):
            arrays = {name: value for name, value in flat if isinstance(value, mx.array)}
            mx.save_safetensors(str(self._path(key)), arrays)
        # What stays in memory is the shape of the tree, and what is no array.
        self._spilled[key] = [(name, None if name in arrays else value) for name, value in flat]

    def get(self, key: Key) -> dict[str, Any]:
        """Return the tree under `key`, from memory or disk."""
        if key in self._held:
            return self._held[key]
        loaded: Any = mx.load(str(self._path(key)))
        tree: Any = tree_unflatten([(name, loaded.get(name, value)) for name, value in self._spilled[key]])
        return dict(tree)

    def drop(self, key: Key) -> None:
        """Forget what is under `key`, if anything is."""
        if key in self._held:
            self._held_bytes -= _size_bytes(self._held.pop(key))
        elif key in self._spilled:
            del self._spilled[key]
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: Key) -> Path:
        return self._directory / f"{key[0]}-{key[1]}.safetensors"


def _size_bytes(tree: Any) -> int:
    flat: Any = tree_flatten(tree)
    return sum(value.nbytes for _, value in flat if isinstance(value, mx.array))
