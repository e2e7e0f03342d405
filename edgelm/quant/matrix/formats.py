"""One matrix into any of MLX's formats, by rounding or by search: what a layer's quantized parameters become.

Affine widths have free scales and biases (`search.py`). mxfp4 and nvfp4 have one scale per block from a coarse
ladder (powers of two, 8-bit floats): the neighbours of MLX's own choice are tried, and the codes that MLX chose
itself stay where none has a smaller error. mxfp8 is left to MLX: codes with exponents lose as much at the next
power of two.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import mlx.core as mx

from edgelm import device
from edgelm.quant.matrix.affine import pack, unpack
from edgelm.quant.matrix.search import CHUNK_WEIGHTS, THOROUGH, Effort, column_weights, search
from edgelm.quant.scheme import Settings, mode_of

Packed = dict[str, mx.array]
"""`weight` (packed codes), `scales` and, in mode affine, `biases`."""

FP4_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""What the codes 0 to 7 of E2M1 stand for; bit 3 is the sign. OCP Microscaling Formats 1.0, table 4."""

LADDER = {"mxfp4": (-1, 0, 1), "nvfp4": (-3, -2, -1, 0, 1, 2)}
"""Mode → steps of the scale's own code that are tried."""


def rounded(weight: mx.array, settings: Settings) -> Packed:
    """Quantize `weight` [..., R, C] with `mx.quantize`: round-to-nearest, and what mlx-lm writes."""
    arrays = mx.quantize(weight, settings["group_size"], settings["bits"], mode_of(settings))
    return dict(zip(("weight", "scales", "biases"), arrays, strict=False))


def searched(
    weight: mx.array, settings: Settings, importance: mx.array | None = None, effort: Effort = THOROUGH
) -> Packed:
    """Quantize `weight` [..., R, C] with searched scales, stored in the dtype of `weight`.

    Args:
        importance: [C], or [E, C] for weights of [E, R, C]; None weighs all columns alike.
    """
    if weight.ndim == 3:
        is_shared = importance is None or importance.ndim == 1
        parts = [
            searched(weight[e], settings, importance if is_shared else importance[e], effort)  # type: ignore[index]
            for e in range(weight.shape[0])
        ]
        return {kind: mx.stack([part[kind] for part in parts]) for kind in parts[0]}
    mode = mode_of(settings)
    if mode in LADDER:
        return _block_searched(weight, settings, importance)
    if mode != "affine":
        return rounded(weight, settings)

    def make(start: int, stop: int) -> Packed:
        values = weight[start:stop].astype(mx.float32)
        grid = search(values, settings["bits"], settings["group_size"], weight.dtype, importance, effort)
        return grid.packed(grid.encode(values))

    return _in_chunks(weight, make)


def dequantized(packed: Packed, settings: Settings) -> mx.array:
    """Unpack to float32 [..., R, C]: what a layer that holds the packed arrays computes with."""
    scales, biases = packed["scales"], packed.get("biases")
    mode = mode_of(settings)
    if mode == "affine":
        assert biases is not None
        scales, biases = scales.astype(mx.float32), biases.astype(mx.float32)
    return mx.dequantize(
        packed["weight"], scales, biases, settings["group_size"], settings["bits"], mode, dtype=mx.float32
    )


def lookup(packed: Packed, settings: Settings) -> Callable[[mx.array], mx.array]:
    """Make a function from token ids to a quantized embedding's vectors in float32; it unpacks only the rows asked for."""

    def look_up(ids: mx.array) -> mx.array:
        return dequantized({kind: array[ids] for kind, array in packed.items()}, settings)

    return look_up


def multiplication(
    packed: Packed, settings: Settings, bias: mx.array | None
) -> Callable[[mx.array], mx.array]:
    """Make a quantized linear layer as a function [..., C] → [..., R] in float32; it unpacks its weight for every call."""

    def multiply(inputs: mx.array) -> mx.array:
        product = inputs @ dequantized(packed, settings).T
        return product if bias is None else product + bias

    return multiply


def _in_chunks(values: mx.array, make: Callable[[int, int], Packed]) -> Packed:
    step = max(1, max(4, device.current_pace().chunks) * CHUNK_WEIGHTS // values.shape[1])
    parts = []
    for start in range(0, values.shape[0], step):
        parts.append(make(start, min(start + step, values.shape[0])))
        mx.eval(parts[-1])
    return {kind: mx.concatenate([part[kind] for part in parts]) for kind in parts[0]}


def _block_searched(weight: mx.array, settings: Settings, importance: mx.array | None) -> Packed:
    weights = column_weights(importance, weight.shape[1])
    return _in_chunks(weight, lambda start, stop: _best_blocks(weight[start:stop], weights, settings))


def _best_blocks(weight: mx.array, weights: mx.array, settings: Settings) -> Packed:
    """The best step of the ladder for every block of one chunk of rows."""
    mode, size = settings["mode"], settings["group_size"]
    own, values = rounded(weight, settings), weight.astype(mx.float32)
    first = own["scales"].astype(mx.int32)
    best_scales, best_codes = own["scales"], unpack(own["weight"], 4)
    best_error = _block_errors(values, dequantized(own, settings), weights, size)
    for step in sorted(LADDER[mode], key=abs):
        scales = mx.clip(first + step, 0, 126 if mode == "nvfp4" else 254).astype(mx.uint8)
        spread = mx.repeat(_scale_values(scales, mode), size, axis=-1)
        codes, decoded = _fp4(values / mx.where(spread == 0, 1, spread))
        error = _block_errors(values, decoded * spread, weights, size)
        wins = error < best_error
        best_scales, best_error = mx.where(wins, scales, best_scales), mx.where(wins, error, best_error)
        best_codes = mx.where(mx.repeat(wins, size, axis=-1), codes, best_codes)
        if device.current_pace().candidates == 1:
            mx.eval(best_scales, best_codes, best_error)
    return {"weight": pack(best_codes, 4), "scales": best_scales}


def _block_errors(values: mx.array, decoded: mx.array, weights: mx.array, size: int) -> mx.array:
    """The weighted squared error of every block [R, G]."""
    error = weights * mx.square(values - decoded)
    error = error.reshape(values.shape[0], -1, size).sum(axis=-1)
    return mx.where(mx.isfinite(error), error, mx.inf)


def _fp4(ratio: mx.array) -> tuple[mx.array, mx.array]:
    """The nearest E2M1 codes of `ratio` [R, C], and what they stand for."""
    middles = [(low + high) / 2 for low, high in itertools.pairwise(FP4_VALUES)]
    magnitude = sum(
        ((mx.abs(ratio) > middle).astype(mx.uint32) for middle in middles), mx.zeros(ratio.shape, mx.uint32)
    )
    sign = (ratio < 0).astype(mx.uint32)
    return magnitude | (sign << 3), mx.array(FP4_VALUES)[magnitude] * (1 - 2 * sign.astype(mx.float32))


def _scale_values(scales: mx.array, mode: str) -> mx.array:
    """What stored scales stand for: powers of two (E8M0) or 8-bit floats (E4M3)."""
    if mode == "nvfp4":
        return mx.from_fp8(scales, mx.float32)
    return mx.power(2.0, scales.astype(mx.float32) - 127)
