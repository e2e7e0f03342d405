"""Values → blocks of 32 whose scales are searched for the least squared error, weighted by what columns matter.

Types with a minimum (Q4_1, Q5_1) by `edgelm.quant.matrix.search`, in float16 as they are stored. Those without (Q4_0, Q5_0,
Q8_0, IQ4_NL) by trying scales around the one at which the largest value is met, each then fitted to its codes by least squares:
the best scale for given codes is Σwxq / Σwq². The plain scale is among them, so none is worse than rounding to nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from edgelm.quant.matrix.search import column_weights, search
from edgelm_converters.sources.gguf.types.kinds import Kind
from edgelm_converters.targets.gguf.blocks.codes import float16_bytes, halves
from edgelm_converters.targets.gguf.blocks.repack import BLOCK, affine_blocks

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

IQ4_VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""kvalues_iq4nl of ggml-common.h."""

_LEVELS = {Kind.Q4_0: (-8, 7), Kind.Q5_0: (-16, 15), Kind.Q8_0: (-127, 127)}
_TRIED = {
    Kind.Q4_0: np.linspace(0.75, 1.15, 17),
    Kind.Q5_0: np.linspace(0.85, 1.1, 11),
    Kind.Q8_0: np.asarray([1.0]),
    Kind.IQ4_NL: np.linspace(0.75, 1.15, 17),
}
"""Scales to try, in shares of the one at which the largest value is met."""
_BITS = {Kind.Q4_0: 4, Kind.Q4_1: 4, Kind.Q5_0: 5, Kind.Q5_1: 5, Kind.Q8_0: 8}

Codes = Callable[[Floats], Floats]
"""Values in units of a scale [32, N] → the levels nearest to them, as numbers."""


def with_minimum(values: Floats, kind: Kind, importance: Floats | None) -> Bytes:
    """Return rows as blocks of Q4_1 or Q5_1, [R, row bytes].

    Args:
        values: [R, W], W a multiple of 32.
        importance: [W], or None.
    """
    bits = _BITS[kind]
    weight = mx.array(values)
    grid = search(weight, bits, BLOCK, mx.float16, None if importance is None else mx.array(importance))
    scales, biases = (
        np.asarray(each.astype(mx.float32)).reshape(-1, 1) for each in (grid.scales, grid.biases)
    )
    codes = np.asarray(grid.encode(weight)).astype(np.uint8).reshape(-1, BLOCK)
    return affine_blocks(kind, codes, scales, biases, bits).reshape(len(values), -1)


def without_minimum(values: Floats, kind: Kind, importance: Floats | None) -> Bytes:
    """Return rows as blocks of Q4_0, Q5_0, Q8_0 or IQ4_NL, [R, row bytes]."""
    blocks = np.ascontiguousarray(values.reshape(-1, BLOCK).T)
    weights = _weights(importance, values)
    level, largest = (
        (_table_levels, 127.0) if kind == Kind.IQ4_NL else (_steps(*_LEVELS[kind]), -_LEVELS[kind][0])
    )
    peak = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=0)[None], axis=0)[0]
    # The level that is largest by itself is negative, so that the sign of a scale goes by its block.
    plain = peak / np.float32(largest if kind == Kind.Q8_0 else -largest)
    scales = _best_scales(blocks, weights, level, plain, _TRIED[kind])
    codes = level(blocks * _inverse(scales))
    if kind == Kind.IQ4_NL:
        indices = np.searchsorted(np.asarray(IQ4_VALUES), codes).astype(np.uint8)
        packed = np.concatenate([float16_bytes(scales[:, None]), halves(indices.T)], axis=1)
        return packed.reshape(len(values), -1)
    bits = _BITS[kind]
    stored = (codes.T + (1 << (bits - 1))).astype(np.uint8)
    return affine_blocks(kind, stored, scales[:, None], scales[:, None], bits).reshape(len(values), -1)


def _weights(importance: Floats | None, values: Floats) -> Floats | None:
    """Importance of every value, [32, N]; None where all matter alike."""
    if importance is None:
        return None
    columns = np.asarray(column_weights(mx.array(importance), values.shape[1]))
    return np.ascontiguousarray(np.broadcast_to(columns, values.shape).reshape(-1, BLOCK).T)


def _best_scales(
    blocks: Floats, weights: Floats | None, level: Codes, plain: Floats, tried: Sequence[float] | Floats
) -> Floats:
    """The scale of each block, as float16 holds it, of the least weighted error."""
    best, least = _rounded(plain), None
    for share in tried:
        candidate = _rounded(plain * np.float32(share))
        for _ in range(2 if len(tried) > 1 else 1):
            codes = level(blocks * _inverse(candidate))
            error = _sum(weights, np.square(blocks - codes * candidate))
            if least is None:
                best, least = candidate, error
            wins = error < least
            best, least = np.where(wins, candidate, best), np.where(wins, error, least)
            power = _sum(weights, np.square(codes))
            fitted = _sum(weights, blocks * codes) / np.where(power > 0, power, 1)
            candidate = _rounded(np.where(power > 0, fitted, candidate))
    return best


def _sum(weights: Floats | None, values: Floats) -> Floats:
    found: Floats = values.sum(axis=0) if weights is None else np.einsum("ij,ij->j", weights, values)
    return found


def _rounded(scales: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return scales.astype(np.float16).astype(np.float32)


def _inverse(scales: Floats) -> Floats:
    return np.where(scales != 0, 1 / np.where(scales != 0, scales, 1), 0).astype(np.float32)


def _steps(low: int, high: int) -> Codes:
    return lambda scaled: np.clip(np.rint(scaled), low, high)


_TABLE = np.asarray(IQ4_VALUES, np.float32)
_BETWEEN = (_TABLE[1:] + _TABLE[:-1]) / 2


def _table_levels(scaled: Floats) -> Floats:
    return _TABLE[np.searchsorted(_BETWEEN, scaled)]
