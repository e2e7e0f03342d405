"""Scales of a matrix: one, one a row, one a column, one a block or one a group, for matrices of any number of experts.

Shapes: E experts (or none), O rows, I columns; R x C scales in each matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mlx.core as mx

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ScaleGrid:
    """How scales lie over the rows and columns of [E, O, I], which are read as [E * O, I]."""

    rows: int
    """O."""
    columns: int
    """I."""
    grid: tuple[int, int]
    """(R, C)."""
    block: tuple[int, int]
    """Rows and columns that share a scale; the last block may be cut."""
    is_shared: bool
    """One grid for all experts."""

    def expanded(self, scales: mx.array, start: int, stop: int) -> mx.array:
        """Return the scale of every value of rows `start` to `stop`, [stop - start, I or 1] float32.

        Args:
            scales: float32 [E * R, C], or [R, C] if it is shared.
        """
        at = mx.arange(start, stop)
        index = (at % self.rows) // self.block[0]
        if not self.is_shared:
            index = index + (at // self.rows) * self.grid[0]
        chosen = scales[index]
        if self.grid[1] == 1:
            return chosen
        return mx.repeat(chosen, self.block[1], axis=1)[:, : self.columns]

    def groups(self, scales: mx.array, size: int) -> mx.array:
        """Return one scale for every `size` columns of every row, [E * O or O, I / size]; `size` divides the block's width."""
        count = scales.shape[0] // self.grid[0] * self.rows
        at = mx.arange(count)
        chosen = scales[(at % self.rows) // self.block[0] + (at // self.rows) * self.grid[0]]
        repeats = self.columns // size if self.grid[1] == 1 else self.block[1] // size
        return mx.repeat(chosen, repeats, axis=1)[:, : self.columns // size]


def find_grid(weight: Shape, scales: Shape, block: tuple[int, int] | None = None) -> ScaleGrid | None:
    """Tell from shapes how `scales` lie over `weight`, [O, I] or [E, O, I]; None if they do not.

    A `block` that is announced counts where it fits, since only it says how a cut block at the edge was meant: 192 rows
    in blocks of 128 are 128 and 64, not 96 and 96 (DeepSeek-V3, inference/kernel.py, `weight_dequant`).
    """
    if len(weight) not in (2, 3) or math.prod(weight) == 0 or math.prod(scales) == 0:
        return None
    experts, rows, columns = (1, *weight)[-3:]
    whole = (rows, columns)
    if math.prod(scales) == 1:
        return ScaleGrid(rows, columns, (1, 1), whole, True)
    if len(weight) == 3 and scales in ((experts,), (experts, 1)):
        return ScaleGrid(rows, columns, (1, 1), whole, False)
    if len(scales) == 1:
        return ScaleGrid(rows, columns, (rows, 1), (1, columns), True) if scales[0] == rows else None
    if len(scales) > len(weight) or (len(scales) == 3 and scales[0] != experts):
        return None
    grid = (scales[-2], scales[-1])
    fits = block is not None and all(
        math.ceil(length / size) == count for length, size, count in zip(whole, block, grid, strict=True)
    )
    if block is None or not fits:
        if rows % grid[0] or columns % grid[1]:
            return None
        block = (rows // grid[0], columns // grid[1])
    return ScaleGrid(rows, columns, grid, block, is_shared=len(scales) == 2)
