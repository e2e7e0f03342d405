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
import numpy as np

from edgelm import device
from edgelm.quant.matrix.affine import Grid, nearest, plain_grid, stored
from edgelm.quant.matrix.curvature import Curvature
from edgelm.quant.matrix.search import THOROUGH, Effort, search

BLOCK = 32
"""Columns that are updated one by one before the rest is updated by a matrix product."""

ROWS = 8192
"""Rows worked on at once (they do not depend on each other): bounds memory for embeddings."""

REFIT_ELEMENTS = 1 << 24
"""Of the intermediate [R, G, C] of a refit."""


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
        """`weight`, `scales` and `biases` as a quantized MLX layer holds them."""
        return self.grid.packed(self.codes)


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
    best = _better(plain, _rounded(wanted, wanted, grid, curvature))
    found = _measured(wanted, grid, _compensated(wanted, grid, curvature), curvature)
    found = _better(found, _refitted(wanted, found, curvature))
    found = _better(found, _swept(wanted, found, curvature))
    return _better(best, found)


def _rounded(weight: mx.array, wanted: mx.array, grid: Grid, curvature: Curvature) -> Fitted:
    return _measured(wanted, grid, grid.encode(weight), curvature)


def _measured(wanted: mx.array, grid: Grid, codes: mx.array, curvature: Curvature) -> Fitted:
    loss = curvature.loss(wanted - grid.decode(codes))
    mx.eval(grid.scales, grid.biases, codes, loss)
    return Fitted(grid, codes, loss)


def _better(one: Fitted, other: Fitted) -> Fitted:
    """Row by row the one with the smaller loss; the first where they are equal."""
    wins = (other.loss < one.loss)[:, None]
    codes = mx.where(wins, other.codes, one.codes)
    found = Fitted(other.grid.where(wins, one.grid), codes, mx.minimum(one.loss, other.loss))
    mx.eval(found.grid.scales, found.grid.biases, found.codes, found.loss)
    return found


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
        """Scales and biases [stop − start, R]."""
        return self.scales[self.group[start:stop]], self.biases[self.group[start:stop]]


def _compensated(wanted: mx.array, grid: Grid, curvature: Curvature) -> mx.array:
    """GPTQ's codes [R, C]."""
    columns = _Columns.of(grid, curvature)
    left = mx.contiguous(wanted.T[curvature.order])  # [C, R]
    factor, count = curvature.factor, left.shape[0]
    made, waits = [], device.current_pace().candidates
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
        made.append(mx.stack(codes))
        if len(made) % waits == 0:
            mx.eval(left, *made[-waits:])
    return _original_order(mx.concatenate(made), curvature)


def _swept(wanted: mx.array, fitted: Fitted, curvature: Curvature) -> Fitted:
    """One sweep of coordinate descent: each code in turn becomes the best given all others."""
    grid, order = fitted.grid, curvature.order
    columns = _Columns.of(grid, curvature)
    matrix = curvature.matrix[order][:, order]
    old_codes = mx.contiguous(fitted.codes.T[order])
    slope = matrix @ (wanted - fitted.weight).T[order]  # [C, R]: H (w − ŵ)
    made, count, waits = [], slope.shape[0], device.current_pace().candidates
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
        made.append(mx.stack(codes))
        if len(made) % waits == 0:
            mx.eval(slope, *made[-waits:])
    return _measured(wanted, grid, _original_order(mx.concatenate(made), curvature), curvature)


def _original_order(columns: mx.array, curvature: Curvature) -> mx.array:
    """[C, R] in the curvature's order → [R, C] in the weights'."""
    return mx.contiguous(columns[mx.argsort(curvature.order)].T)


def _refitted(wanted: mx.array, fitted: Fitted, curvature: Curvature) -> Fitted:
    """Scales and biases of all groups of a row, solved for together given the codes."""
    groups = fitted.grid.scales.shape[1]
    step = max(1, REFIT_ELEMENTS // (groups * wanted.shape[1]))
    parts = [
        _solved(wanted[start : start + step], fitted, start, curvature)
        for start in range(0, wanted.shape[0], step)
    ]
    grid = dataclasses.replace(
        fitted.grid,
        scales=mx.concatenate([scales for scales, _ in parts]),
        biases=mx.concatenate([biases for _, biases in parts]),
    )
    # Codes that were chosen for the old scales may now have a nearer neighbour, but GPTQ's are not the nearest.
    return _measured(wanted, grid, fitted.codes, curvature)


def _solved(wanted: mx.array, fitted: Fitted, start: int, curvature: Curvature) -> tuple[mx.array, mx.array]:
    grid = fitted.grid.rows(start, start + wanted.shape[0])
    codes = fitted.codes[start : start + wanted.shape[0]]
    rows, groups, size = wanted.shape[0], grid.scales.shape[1], grid.group_size
    matrix = curvature.matrix.reshape(groups, size, -1)  # [G, g, C]
    grouped = codes.reshape(rows, groups, size)
    spread = (grouped.swapaxes(0, 1) @ matrix).reshape(groups, rows, groups, size)  # codes · H
    code_code = (spread * grouped[None]).sum(axis=-1).swapaxes(0, 1)  # [R, G, G]
    code_one = spread.sum(axis=-1).swapaxes(0, 1)  # [R, G, G]
    one_one = matrix.sum(axis=1).reshape(groups, groups, size).sum(axis=-1)  # [G, G]
    slope = ((wanted - grid.decode(codes)) @ curvature.matrix).reshape(rows, groups, size)
    right = mx.concatenate([(slope * grouped).sum(axis=-1), slope.sum(axis=-1)], axis=-1)
    mx.eval(code_code, code_one, one_one, right)
    moves = _least_squares(*(np.array(a, dtype=np.float64) for a in (code_code, code_one, one_one, right)))
    scales = stored(grid.scales + mx.array(moves[:, :groups]), grid.dtype)
    biases = stored(grid.biases + mx.array(moves[:, groups:]), grid.dtype)
    unusable = (scales == 0) | ~mx.isfinite(scales) | ~mx.isfinite(biases)
    return mx.where(unusable, grid.scales, scales), mx.where(unusable, grid.biases, biases)


def _least_squares(
    code_code: np.ndarray, code_one: np.ndarray, one_one: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """The moves of (scales, biases) [R, 2G] in float32 that the normal equations of each row ask for."""
    rows, groups, _ = code_code.shape
    system = np.empty((rows, 2 * groups, 2 * groups))
    system[:, :groups, :groups] = code_code
    system[:, :groups, groups:] = code_one
    system[:, groups:, :groups] = code_one.swapaxes(1, 2)
    system[:, groups:, groups:] = one_one
    diagonal = np.arange(2 * groups)
    # A row whose codes are all alike has no unique solution; the ridge then leaves scales where they are.
    system[:, diagonal, diagonal] *= 1 + 1e-6
    system[:, diagonal, diagonal] += 1e-9
    moves: np.ndarray = np.linalg.solve(system, right[..., None])[..., 0].astype(np.float32)
    return moves
