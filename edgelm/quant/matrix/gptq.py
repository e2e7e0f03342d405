"""GPTQ on searched grids: codes chosen column by column, each column's error made good by those after it.

Differs from the usual form in what it starts from: the grids are searched beforehand for the weighted error
(so they stay put while columns change), columns go from the most to the least excited, and afterwards scales
and biases are solved for jointly and every code is reconsidered once. Row by row the best of what was
tried is kept, plain rounding included: by its own measure tr(D H Dᵀ) a row is never worse than round-to-nearest.
Source: arXiv:2210.17323 (GPTQ). Works on columns as rows ([C, R]) so that a column is contiguous.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import mlx.core as mx

from edgelm import device
from edgelm.quant.matrix.affine import Grid, nearest, plain_grid
from edgelm.quant.matrix.curvature import Curvature
from edgelm.quant.matrix.fitted import Fitted, better, measured
from edgelm.quant.matrix.refit import refitted
from edgelm.quant.matrix.search import THOROUGH, Effort, search

BLOCK = 32
"""Columns that are updated one by one before the rest is updated by a matrix product."""

ROWS = 8192
"""Rows worked on at once (they do not depend on each other): bounds memory for embeddings."""


def fit(
    weight: mx.array,
    curvature: Curvature,
    bits: int,
    group_size: int,
    dtype: mx.Dtype,
    effort: Effort = THOROUGH,
    move: mx.array | None = None,
) -> Fitted:
    """Quantize `weight` [R, C] to lose little under `curvature`.

    Args:
        dtype: what scales and biases will be stored in.
        move: M [C, C] of `alignment`: the outputs wanted are those of W + W M.
    """
    parts = []
    for start in range(0, weight.shape[0], ROWS):
        rows = weight[start : start + ROWS].astype(mx.float32)
        wanted = rows if move is None else rows + rows @ move
        mx.eval(wanted)
        parts.append(_fit(rows, wanted, curvature, bits, group_size, dtype, effort))
    if len(parts) == 1:
        return parts[0]
    grid = dataclasses.replace(
        parts[0].grid,
        scales=mx.concatenate([part.grid.scales for part in parts]),
        biases=mx.concatenate([part.grid.biases for part in parts]),
    )
    codes = mx.concatenate([part.codes for part in parts])
    return Fitted(grid, codes, mx.concatenate([part.loss for part in parts]))


def _fit(
    weight: mx.array, wanted: mx.array, curvature: Curvature, bits: int, group_size: int, dtype: mx.Dtype,
    effort: Effort,
) -> Fitted:  # fmt: skip
    plain = _rounded(weight, wanted, plain_grid(weight, bits, group_size, dtype), curvature)
    grid = search(wanted, bits, group_size, dtype, curvature.importance, effort)
    best = better(plain, _rounded(wanted, wanted, grid, curvature))
    fitted = measured(wanted, grid, _compensated(wanted, grid, curvature), curvature)
    fitted = better(fitted, refitted(wanted, fitted, curvature))
    fitted = better(fitted, _swept(wanted, fitted, curvature))
    return better(best, fitted)


def _rounded(weight: mx.array, wanted: mx.array, grid: Grid, curvature: Curvature) -> Fitted:
    return measured(wanted, grid, grid.encode(weight), curvature)


@dataclass(frozen=True)
class _Columns:
    """The grid of every column, in the order of the curvature."""

    scales: mx.array  # [G, R]
    biases: mx.array  # [G, R]
    group: mx.array  # [C]
    max_code: int

    @classmethod
    def of(cls, grid: Grid, curvature: Curvature) -> _Columns:
        group = curvature.order // grid.group_size
        return cls(mx.contiguous(grid.scales.T), mx.contiguous(grid.biases.T), group, 2**grid.bits - 1)

    def block(self, start: int, stop: int) -> tuple[mx.array, mx.array]:
        """Return the scales and biases [stop − start, R]."""
        return self.scales[self.group[start:stop]], self.biases[self.group[start:stop]]


def _compensated(wanted: mx.array, grid: Grid, curvature: Curvature) -> mx.array:
    """GPTQ's codes [R, C]."""
    columns = _Columns.of(grid, curvature)
    left = mx.contiguous(wanted.T[curvature.order])  # [C, R]
    factor, count = curvature.factor, left.shape[0]
    blocks, waits = [], device.current_pace().candidates
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        scales, biases = columns.block(start, stop)
        inner = factor[start:stop, start:stop]
        tail, codes, errors = left[: stop - start], [], []
        for k in range(stop - start):
            code = nearest(tail[0], scales[k], biases[k], columns.max_code)
            error = (tail[0] - (code * scales[k] + biases[k])) / inner[k, k]
            tail = tail[1:] - inner[k, k + 1 :, None] * error
            codes.append(code)
            errors.append(error)
        left = left[stop - start :] - factor[start:stop, stop:].T @ mx.stack(errors)
        blocks.append(mx.stack(codes))
        if len(blocks) % waits == 0:
            mx.eval(left, *blocks[-waits:])
    return _original_order(mx.concatenate(blocks), curvature)


def _swept(wanted: mx.array, fitted: Fitted, curvature: Curvature) -> Fitted:
    """One sweep of coordinate descent: each code in turn becomes the best given all others."""
    grid, order = fitted.grid, curvature.order
    columns = _Columns.of(grid, curvature)
    matrix = curvature.matrix[order][:, order]
    old_codes = mx.contiguous(fitted.codes.T[order])
    slope = matrix @ (wanted - fitted.weight).T[order]  # [C, R]: H (w − ŵ)
    blocks, count, waits = [], slope.shape[0], device.current_pace().candidates
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        scales, biases = columns.block(start, stop)
        inner = matrix[start:stop, start:stop]
        tail, codes, moves = slope[start:stop], [], []
        for k in range(stop - start):
            old = old_codes[start + k] * scales[k] + biases[k]
            code = nearest(old + tail[0] / inner[k, k], scales[k], biases[k], columns.max_code)
            move = code * scales[k] + biases[k] - old
            tail = tail[1:] - inner[k, k + 1 :, None] * move
            codes.append(code)
            moves.append(move)
        slope = slope - matrix[:, start:stop] @ mx.stack(moves)
        blocks.append(mx.stack(codes))
        if len(blocks) % waits == 0:
            mx.eval(slope, *blocks[-waits:])
    return measured(wanted, grid, _original_order(mx.concatenate(blocks), curvature), curvature)


def _original_order(columns: mx.array, curvature: Curvature) -> mx.array:
    """[C, R] in the curvature's order → [R, C] in the weights'."""
    return mx.contiguous(columns[mx.argsort(curvature.order)].T)
