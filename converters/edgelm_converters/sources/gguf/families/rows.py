"""Orders of rows, two-way.

llama.cpp moves whole rows, which are bytes: quantized blocks move with them, and nothing is computed. A tensor of more than two
dimensions counts the rows of all its leading dimensions, one of one dimension counts its items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Sizes = Mapping[str, int]
Indices = npt.NDArray[np.intp]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class RowOrder:
    """Where the rows of the network's tensors lie among the stored ones; both put one after another."""

    indices: Callable[[Sizes], Indices]
    """Sizes of the layer → for each row of the network's, the row that is stored."""

    def from_gguf(self, rows: Array, sizes: Sizes) -> Array:
        """Return the stored `rows`, [R, …], in the network's order."""
        return rows[self.indices(sizes)]

    def to_gguf(self, rows: Array, sizes: Sizes) -> Array:
        """Return the network's `rows`, [R, …], in the order in which they are stored."""
        return rows[np.argsort(self.indices(sizes))]


def permuted(heads: str, head: str = "head") -> RowOrder:
    """Return the order of q or k of llama: llama.cpp rotates neighbours, transformers the two halves of a head.

    Stored rows of a head are (0, h/2, 1, h/2 + 1, …) of the network's: `LlamaModel.permute` of llama.cpp's conversion.
    """

    def indices(sizes: Sizes) -> Indices:
        return np.arange(sizes[heads] * sizes[head]).reshape(sizes[heads], -1, 2).swapaxes(1, 2).reshape(-1)

    return RowOrder(indices)


def in_turn(*orders: tuple[RowOrder | None, str]) -> RowOrder:
    """Return the order of tensors that are stored one after another in one.

    Args:
        orders: each one's order, None for as it is stored, and the length that is its number of rows.
    """

    def indices(sizes: Sizes) -> Indices:
        parts: list[Indices] = []
        start = 0
        for order, length in orders:
            own = np.arange(sizes[length]) if order is None else order.indices(sizes)
            parts.append(own + start)
            start += sizes[length]
        return np.concatenate(parts)

    return RowOrder(indices)


def halves_of(groups: str, half: str) -> RowOrder:
    """Return the order of two tensors that are stored in one, group by group: the first half of each group, then the second.

    Args:
        groups: the length that is the number of groups, such as experts.
        half: the length that is the number of rows of one half of a group.
    """

    def indices(sizes: Sizes) -> Indices:
        return (
            np.arange(2 * sizes[groups] * sizes[half])
            .reshape(sizes[groups], 2, -1)
            .swapaxes(0, 1)
            .reshape(-1)
        )

    return RowOrder(indices)
