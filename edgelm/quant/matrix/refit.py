"""Scales and biases solved for jointly, given codes, by least squares under a curvature."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np

from edgelm.quant.matrix.affine import stored
from edgelm.quant.matrix.curvature import Curvature
from edgelm.quant.matrix.fitted import Fitted, measured

REFIT_ELEMENTS = 1 << 24
"""Elements of the intermediate [R, G, C] of a refit."""


def refitted(wanted: mx.array, fitted: Fitted, curvature: Curvature) -> Fitted:
    """Solve for the scales and biases of all groups of a row together, given the codes."""
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
    return measured(wanted, grid, fitted.codes, curvature)


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
