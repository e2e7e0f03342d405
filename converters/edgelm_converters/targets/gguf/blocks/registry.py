"""Encoders of values, by type."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm_converters.sources.gguf.types.blocks import PACKINGS
from edgelm_converters.sources.gguf.types.kinds import Kind, block_bytes, values_per_block
from edgelm_converters.targets.gguf.blocks.searched import with_minimum, without_minimum

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Encode = Callable[[Floats, Floats | None], Bytes]
"""Rows [R, W] and the importance of columns [W] or None → blocks [R, row bytes]."""


def _float32(values: Floats, _: Floats | None) -> Bytes:
    return np.ascontiguousarray(values, "<f4").view(np.uint8).reshape(len(values), -1)


def _float16(values: Floats, _: Floats | None) -> Bytes:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values.astype("<f2")).view(np.uint8).reshape(len(values), -1)


def _bfloat16(values: Floats, _: Floats | None) -> Bytes:
    """The upper half of each float32, rounded to even."""
    bits = np.ascontiguousarray(values, "<f4").view("<u4")
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    halved = np.where(np.isnan(values), (bits >> np.uint32(16)) | np.uint32(64), rounded)
    return np.ascontiguousarray(halved.astype("<u2")).view(np.uint8).reshape(len(values), -1)


def _with_minimum(kind: Kind, values: Floats, importance: Floats | None) -> Bytes:
    return with_minimum(values, kind, importance)


def _without_minimum(kind: Kind, values: Floats, importance: Floats | None) -> Bytes:
    return without_minimum(values, kind, importance)


FLOATS: Mapping[Kind, Encode] = {Kind.F32: _float32, Kind.F16: _float16, Kind.BF16: _bfloat16}

ENCODERS: Mapping[Kind, Encode] = {
    **FLOATS,
    **{kind: functools.partial(_with_minimum, kind) for kind in (Kind.Q4_1, Kind.Q5_1)},
    **{
        kind: functools.partial(_without_minimum, kind)
        for kind in (Kind.Q4_0, Kind.Q5_0, Kind.Q8_0, Kind.IQ4_NL)
    },
}
"""Type → what makes its blocks of values."""


def decoded(raw: Bytes, kind: Kind) -> Floats:
    """Return the values of blocks [R, row bytes] as [R, W], as ggml computes them."""
    rows = raw.shape[0]
    if kind in PACKINGS and PACKINGS[kind].mode == "affine":
        packing: Any = PACKINGS[kind]
        codes, scales, biases = packing.split(raw.reshape(-1, block_bytes(kind)))
        repeats = values_per_block(kind) // scales.shape[1]
        values = codes * np.repeat(scales, repeats, axis=1) + np.repeat(biases, repeats, axis=1)
        return np.asarray(values, np.float32).reshape(rows, -1)
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    return np.asarray(dequantize(raw, GGMLQuantizationType(kind)), np.float32).reshape(rows, -1)
