"""Sums over calibration text of what meets a weight: E[x²] by column, and the Hessians of GPTQ.

Accumulated batch by batch in float32; nothing is kept of the inputs themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from edgelm.quant.streams.taps import Inputs
from edgelm.zoo.tree import number

MIN_EXPERT_TOKENS = 256
"""Routed tokens below which the Hessian of an expert is too poor for GPTQ."""


@dataclass
class Squares:
    """Σ x² by column, and how many rows were seen; for stacked weights by slice."""

    total: mx.array  # [C] or [E, C]
    rows: mx.array  # [] or [E]

    @classmethod
    def zero(cls, weight_shape: tuple[int, ...]) -> Squares:
        """Start with no rows seen, for a weight [R, C] or [E, R, C]."""
        lead = weight_shape[:-2]
        return cls(mx.zeros((*lead, weight_shape[-1])), mx.zeros(lead))

    @property
    def tokens(self) -> int:
        """Rows seen, of all slices together."""
        return int(number(self.rows.sum()))

    def add(self, inputs: Inputs) -> None:
        """Count the rows of one call."""
        squares = mx.square(inputs.rows.astype(mx.float32))
        if inputs.slices is None:
            self.total = self.total + squares.sum(axis=0)
            self.rows = self.rows + squares.shape[0]
        else:
            self.total = self.total.at[inputs.slices].add(squares)
            self.rows = self.rows.at[inputs.slices].add(1.0)
        mx.eval(self.total, self.rows)

    def importance(self) -> mx.array | None:
        """E[x²], [C] or [E, C]; a slice that too few rows reached gets the average of all. None: no rows at all."""
        if self.tokens == 0:
            return None
        if self.rows.ndim == 0:
            return self.total / self.rows
        average = self.total.sum(axis=0) / self.rows.sum()
        enough = (self.rows >= MIN_EXPERT_TOKENS)[:, None]
        return mx.where(enough, self.total / mx.maximum(self.rows, 1)[:, None], average)


@dataclass
class Products:
    """H = X̂ᵀX̂, and C = XᵀX̂ where the source's inputs are given too."""

    hessian: mx.array  # [C, C]
    cross: mx.array  # [C, C]
    rows: int = 0

    @classmethod
    def zero(cls, columns: int) -> Products:
        """Start with no rows seen."""
        return cls(mx.zeros((columns, columns)), mx.zeros((columns, columns)))

    def add(self, rows: mx.array, source: mx.array | None = None) -> None:
        """Count inputs [N, C], and for C those of the source at the same tokens."""
        rows = rows.astype(mx.float32)
        self.hessian = self.hessian + rows.T @ rows
        if source is not None:
            self.cross = self.cross + source.astype(mx.float32).T @ rows
        self.rows += rows.shape[0]
        mx.eval(self.hessian, self.cross)


def rows_by_slice(inputs: Inputs, wanted: list[int]) -> dict[int, mx.array]:
    """Sort out the rows [n, C] that went to each of the `wanted` slices."""
    assert inputs.slices is not None
    slices = np.array(inputs.slices)
    rows = {}
    for index in wanted:
        where = np.nonzero(slices == index)[0]
        if where.size:
            rows[index] = inputs.rows[mx.array(where)].astype(mx.float32)
    return rows
