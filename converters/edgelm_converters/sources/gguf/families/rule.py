"""One rule of a family's table: which stored tensors are which of the network's, and what lies between them.

Knows arrays, not files: `names.py` makes lazy tensors of rules, an export would make stored ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelm_converters.sources.gguf.families.rows import Array, RowOrder, Sizes
from edgelm_converters.sources.gguf.families.values import ValueChange

Shape = tuple[str | int, ...]
"""Names of lengths, or numbers; rows first."""


@dataclass(frozen=True, slots=True)
class Named:
    """A tensor by its name in a layer (or in the model) and its shape in named lengths.

    A star in the network's name stands for the index of its first dimension: that many tensors, without that dimension.
    """

    name: str
    shape: Shape

    def shape_for(self, sizes: Sizes) -> tuple[int, ...]:
        """Return the shape in numbers; a length that these sizes have not is 0, which no stored tensor has."""
        return tuple(length if isinstance(length, int) else sizes.get(length, 0) for length in self.shape)

    def rows_for(self, sizes: Sizes) -> int:
        """Count its rows: those of all leading dimensions, or its items if there is but one dimension."""
        return rows_of(self.shape_for(sizes))


@dataclass(frozen=True, slots=True)
class Rule:
    """Stored tensors and the network's tensors that hold the same.

    Their rows, put one after another, are the same rows in an order (`rows`), so that one tensor is renamed, split, or merged
    of several; or they are computed from each other (`values`).
    """

    stored: tuple[Named, ...]
    network: tuple[Named, ...]
    rows: RowOrder | None = None
    values: ValueChange | None = None

    def from_gguf(self, stored: Sequence[Array], sizes: Sizes) -> list[Array]:
        """Return the network's tensors for the stored ones."""
        if self.values is not None:
            found: Sequence[Array] = self.values.from_gguf(stored, sizes)
            return [
                values.reshape(tensor.shape_for(sizes))
                for values, tensor in zip(found, self.network, strict=True)
            ]
        rows = _joined(stored)
        return _cut(self.rows.from_gguf(rows, sizes) if self.rows else rows, self.network, sizes)

    def to_gguf(self, network: Sequence[Array], sizes: Sizes) -> list[Array]:
        """Return the tensors to be stored for the network's."""
        if self.values is not None:
            found: Sequence[Array] = self.values.to_gguf(network, sizes)
            return [
                values.reshape(tensor.shape_for(sizes))
                for values, tensor in zip(found, self.stored, strict=True)
            ]
        rows = _joined(network)
        return _cut(self.rows.to_gguf(rows, sizes) if self.rows else rows, self.stored, sizes)


def same(
    stored: str,
    network: str,
    *shape: str | int,
    rows: RowOrder | None = None,
    values: ValueChange | None = None,
    becomes: Shape | None = None,
) -> Rule:
    """Return the rule of one tensor that is one tensor.

    Args:
        shape: as it is stored; `becomes` where the network's is another, which needs `values`.
    """
    return Rule((Named(stored, shape),), (Named(network, becomes or shape),), rows, values)


def split(stored: str, shape: Shape, *network: tuple[str, Shape], rows: RowOrder | None = None) -> Rule:
    """Return the rule of one stored tensor whose rows are those of several of the network's."""
    return Rule((Named(stored, shape),), tuple(Named(*each) for each in network), rows)


def merged(network: str, shape: Shape, *stored: tuple[str, Shape], rows: RowOrder | None = None) -> Rule:
    """Return the rule of one tensor of the network whose rows are those of several stored ones."""
    return Rule(tuple(Named(*each) for each in stored), (Named(network, shape),), rows)


def rows_of(shape: tuple[int, ...]) -> int:
    """Count the rows of a shape, as `Named.rows_for` does."""
    return math.prod(shape[:-1]) if len(shape) > 1 else shape[0]


def _joined(tensors: Sequence[Array]) -> Array:
    flat: list[Any] = [each if each.ndim == 1 else each.reshape(-1, each.shape[-1]) for each in tensors]
    return flat[0] if len(flat) == 1 else np.concatenate(flat)


def _cut(rows: Array, tensors: Sequence[Named], sizes: Sizes) -> list[Array]:
    ends = np.cumsum([tensor.rows_for(sizes) for tensor in tensors])
    parts = np.split(rows, ends[:-1])
    return [part.reshape(tensor.shape_for(sizes)) for part, tensor in zip(parts, tensors, strict=True)]
