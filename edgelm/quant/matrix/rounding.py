"""Round-to-nearest on MLX's CPU backend, a vector of weights at a time: the bits of `mx.quantize`, in a quarter of its time.

MLX's own loop takes one weight after the other. `rounding.cpp` holds the same steps for eight; it is compiled for this
processor (`edgelm.blas.compiled`), and believed only once it has rounded a sample, awkward values included, to the very bits
that MLX does. Without it, and for what it has no routine for, `mx.quantize` is right and slower.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from importlib.resources import files

import mlx.core as mx
import numpy as np

from edgelm import log
from edgelm.blas import processor_flags
from edgelm.blas.compiled import compiled
from edgelm.quant.matrix.formats import Packed, rounded
from edgelm.quant.scheme import Settings, is_affine

_FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-x", "c++")
_WITHOUT = "weights are rounded by MLX's own loop"
_STORED = {mx.bfloat16: mx.uint16, mx.float32: mx.float32}
"""dtype of weights and scales → what numpy takes it for."""

Rounding = Callable[[mx.array], Packed]


def vector_rounding(settings: Settings, dtype: mx.Dtype) -> Rounding | None:
    """Return what quantizes weights [..., R, C] of `dtype` as `mx.quantize` does, at once; None where only MLX can."""
    is_cpu = mx.default_device() == mx.Device(mx.cpu)
    if not is_cpu or not is_affine(settings) or dtype not in _STORED or sys.byteorder != "little":
        return None
    return _checked(int(settings["bits"]), int(settings["group_size"]), dtype)


@functools.cache
def _checked(bits: int, group_size: int, dtype: mx.Dtype) -> Rounding | None:
    library = _library()
    if library is None:
        return None
    round_rows = functools.partial(_rounded, library, bits, group_size)
    sample = _sample(group_size).astype(dtype)
    own = rounded(sample, {"bits": bits, "group_size": group_size, "mode": "affine"})
    if all(_same_bits(own[kind], array) for kind, array in round_rows(sample).items()):
        return round_rows
    log.logger.info("%s: %d bits in groups of %d come out otherwise", _WITHOUT, bits, group_size)
    return None


def _rounded(library: ctypes.CDLL, bits: int, group_size: int, weight: mx.array) -> Packed:
    columns = weight.shape[-1]
    if columns % group_size:
        raise ValueError(f"rows of {columns} weights have no groups of {group_size}")
    stored = _STORED[weight.dtype]
    values = np.asarray(mx.contiguous(weight).view(stored))
    groups = (*weight.shape[:-1], columns // group_size)
    codes = np.empty((*weight.shape[:-1], columns * bits // 32), np.uint32)
    scales, biases = np.empty(groups, values.dtype), np.empty(groups, values.dtype)
    pointers = (ctypes.c_void_p(array.ctypes.data) for array in (values, codes, scales, biases))
    is_half, count = int(stored == mx.uint16), ctypes.c_int64(scales.size)
    if not library.edgelm_round(*pointers, is_half, bits, group_size, count):
        raise ValueError(f"no routine for {bits} bits in groups of {group_size}")
    return {
        "weight": mx.array(codes),
        "scales": mx.array(scales).view(weight.dtype),
        "biases": mx.array(biases).view(weight.dtype),
    }


def _sample(group_size: int) -> mx.array:
    """Groups [G, C] of ordinary weights and of awkward ones: one value, ties, both zeros, extremes, NaN and infinities."""
    ordinary = mx.sin(mx.arange(7 * group_size, dtype=mx.float32) ** 2).reshape(7, group_size)
    ties, line = mx.round(ordinary * 8) / 16, mx.ones((1, group_size))
    broken = mx.concatenate([ordinary[:3, 1:], mx.array([[mx.nan], [mx.inf], [-mx.inf]])], axis=1)
    constant = mx.concatenate([line * value for value in (0.0, -0.0, 1.0, -3.0, 1e-9, mx.nan)])
    zeros = mx.where(mx.arange(group_size) % 2 == 0, 0.0, -0.0)[None]
    return mx.concatenate(
        [ordinary * 0.02, ordinary * 1e38, ordinary * 1e-38, mx.abs(ordinary), -mx.abs(ordinary), ties, broken, constant, zeros]
    )  # fmt: skip


def _same_bits(one: mx.array, other: mx.array) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(mx.array_equal(one.view(mx.uint8), other.view(mx.uint8)).item())


@functools.cache
def _library() -> ctypes.CDLL | None:
    source = files("edgelm.quant.matrix").joinpath("rounding.cpp").read_bytes()
    machine = " ".join(sorted(processor_flags()))
    path = compiled(source, "rounding", _FLAGS, without=_WITHOUT, machine=machine)
    if path is None:
        return None
    try:
        library = ctypes.CDLL(str(path))
        library.edgelm_round.restype = ctypes.c_int
    except (OSError, AttributeError) as error:
        log.logger.info("%s: %s", _WITHOUT, error)
        return None
    return library
