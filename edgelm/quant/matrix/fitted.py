"""A quantized matrix with the loss of every row, and choosing between two of them row by row."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from edgelm.quant.matrix.affine import Grid
from edgelm.quant.matrix.curvature import Curvature


@dataclass(frozen=True)
class Fitted:
    """A quantized matrix."""

    grid: Grid
    codes: mx.array
    """[R, C] as float32."""
    loss: mx.array
    """[R]: D H Dᵀ of every row."""

    @property
    def weight(self) -> mx.array:
        """What the codes stand for, [R, C] in float32."""
        return self.grid.decode(self.codes)

    def packed(self) -> dict[str, mx.array]:
        """Pack into `weight`, `scales` and `biases` as a quantized MLX layer holds them."""
        return self.grid.packed(self.codes)


def measured(wanted: mx.array, grid: Grid, codes: mx.array, curvature: Curvature) -> Fitted:
    """Measure the loss of `codes` [R, C] on `grid` from the `wanted` weights [R, C]; everything is evaluated."""
    loss = curvature.loss(wanted - grid.decode(codes))
    mx.eval(grid.scales, grid.biases, codes, loss)
    return Fitted(grid, codes, loss)


def better(one: Fitted, other: Fitted) -> Fitted:
    """Choose row by row the one with the smaller loss; the first where they are equal."""
    wins = (other.loss < one.loss)[:, None]
    codes = mx.where(wins, other.codes, one.codes)
    chosen = Fitted(other.grid.where(wins, one.grid), codes, mx.minimum(one.loss, other.loss))
    mx.eval(chosen.grid.scales, chosen.grid.biases, chosen.codes, chosen.loss)
    return chosen
