"""4-bit floats (E2M1) in bytes of two: NVFP4 with its two scales, MXFP4, and MXFP6 beside them.

| layout | codes | scales |
|---|---|---|
| compressed-tensors `nvfp4-pack-quantized` | `weight_packed` | `weight_scale` (E4M3 over 16) / `weight_global_scale` |
| ModelOpt NVFP4 | `weight` | `weight_scale` (E4M3 over 16) * `weight_scale_2` |
| compressed-tensors `mxfp4-pack-quantized`, DeepSeek-V4's experts | `weight_packed`, `weight` | E8M0 over 32 |
| gpt-oss | `experts.gate_up_proj_blocks` [E, O, G, 16] | `experts.gate_up_proj_scales` (E8M0) |

The lower half of a byte comes first, as in MLX: MXFP4 is kept code for code everywhere, NVFP4 where its global scale is
one. A layer of MLX has no other place for it (its experts have, but not the kernels of every backend), so
NVFP4 with a global scale is unpacked. Sources: compressed-tensors 0.20, `compressors/nvfp4` and `mx_utils.py`; ModelOpt's
`NVFP4QTensor.dequantize`; transformers 5.24, `integrations/mxfp4.py`.
"""

from __future__ import annotations

import functools
import math

import mlx.core as mx

from edgelm.errors import FormatError
from edgelm.quant.scheme import Settings
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.float8.codes import EXPONENTS, FLOAT8, e2m3, nibbles, table
from edgelm_converters.sources.packings.float8.scale_grid import find_grid
from edgelm_converters.sources.packings.float8.values import scaled, scaled_rows
from edgelm_converters.sources.packings.packed_format import (
    LOSSLESS_FOR_4_BITS,
    PackedSource,
    Presented,
    lazily,
)

MXFP4: Settings = {"group_size": 32, "bits": 4, "mode": "mxfp4"}
NVFP4: Settings = {"group_size": 16, "bits": 4, "mode": "nvfp4"}

BYTES = ("U8", "I8", "torch.uint8", "torch.int8")


def is_fp4(weight: LazyTensor, scale: LazyTensor) -> bool:
    """Tell from types and shapes whether bytes are pairs of 4-bit floats under a scale for every 16 or 32 of them."""
    if weight.stored_as not in BYTES or len(weight.shape) < 2 or weight.shape[:-1] != scale.shape[:-1]:
        return False
    if not math.prod(weight.shape):
        return False
    group = _group_of(scale)
    return group is not None and weight.shape[-1] * 2 == scale.shape[-1] * group


def is_fp6(weight: LazyTensor, scale: LazyTensor) -> bool:
    """Tell whether bytes are quarters of 6-bit floats: four in three bytes, under powers of two over 32."""
    return (
        weight.stored_as in BYTES
        and math.prod(weight.shape) > 0
        and len(weight.shape) == 2
        and weight.shape[:-1] == scale.shape[:-1]
        and scale.stored_as in EXPONENTS
        and weight.shape[-1] * 4 == scale.shape[-1] * 32 * 3
    )


def _group_of(scale: LazyTensor) -> int | None:
    if FLOAT8.get(scale.stored_as) == "e4m3fn":
        return 16
    return 32 if scale.stored_as in EXPONENTS else None


def present_fp4(
    name: str,
    packed: str,
    scale_name: str,
    whole: tuple[str, bool] | None,
    source: PackedSource,
    result: Presented,
) -> None:
    """Present the weight `name` of 4-bit floats.

    Args:
        packed: the name of its codes, [..., O, I / 2] bytes.
        scale_name: of its scales over 16 (NVFP4) or 32 (MXFP4).
        whole: the name of the scale of the whole tensor, and whether it divides.

    Raises:
        FormatError: a scale of the whole tensor that does not fit, or is not finite when it is read.
    """
    weight, scale = source.tensors[packed], source.tensors[scale_name]
    shape = (*weight.shape[:-1], weight.shape[-1] * 2)
    result.used.update((packed, scale_name, *(whole[:1] if whole else ())))
    where = f"{source.where}: {packed}"
    group = _group_of(scale)
    is_mx = group == 32
    over = source.tensors[whole[0]] if whole and not is_mx else None
    if over is not None and over.shape not in (
        (),
        (1,),
        weight.shape[:1],
        (*weight.shape[:1], 1),
        (*weight.shape[:1], 1, 1),
    ):
        raise FormatError(
            f"{source.where}: {whole and whole[0]} of shape {over.shape} does not scale {packed} of {weight.shape}"
        )
    if name.endswith(".weight") and (is_mx or over is None or _is_one(over)):
        _keep(name.removesuffix(".weight"), weight, scale, MXFP4 if is_mx else NVFP4, where, result)
        return
    divides = bool(whole and whole[1])
    read = functools.partial(_unpacked, weight, scale, over, divides, where)
    grid = find_grid(shape[-3:], scale.shape[-3:])
    assert grid is not None
    rows = scaled_rows(weight, _values, lambda: _scales(scale, over, divides), grid, where)
    label = "MXFP4" if is_mx else "NVFP4"
    result.unpack(name, shape, read, label, LOSSLESS_FOR_4_BITS, read_rows=rows)


def present_fp6(name: str, packed: str, scale_name: str, source: PackedSource, result: Presented) -> None:
    """Present the weight `name` of 6-bit floats (E2M3)."""
    weight, scale = source.tensors[packed], source.tensors[scale_name]
    result.used.update((packed, scale_name))
    read = functools.partial(_unpacked_fp6, weight, scale, f"{source.where}: {packed}")
    result.unpack(name, (weight.shape[0], weight.shape[1] * 4 // 3), read, "MXFP6")


def keep_mx4(path: str, codes: LazyTensor, scales: LazyTensor, where: str, result: Presented) -> None:
    """Present a module as MXFP4, code for code: bytes [..., O, I / 2] and exponents [..., O, I / 32]."""
    _keep(path, codes, scales, MXFP4, where, result)


def _keep(
    path: str, weight: LazyTensor, scale: LazyTensor, settings: Settings, where: str, result: Presented
) -> None:
    def words(codes: mx.array) -> mx.array:
        return mx.contiguous(codes.view(mx.uint8)).view(mx.uint32)

    def checked(scales: mx.array) -> mx.array:
        kind = "e8m0" if settings["mode"] == "mxfp4" else "e4m3fn"
        if not mx.all(mx.isfinite(table(kind)[scales])).item():
            raise FormatError(f"{where} has scales that are not finite", hint="the file is damaged")
        return scales

    label = str(settings["mode"]).upper()
    result.keep(
        path,
        lazily(words, (*weight.shape[:-1], weight.shape[-1] // 4), mx.uint32, weight, stored_as=label),
        lazily(checked, scale.shape, mx.uint8, scale),
        None,
        settings,
    )


def _is_one(over: LazyTensor) -> bool:
    return bool(mx.all(over.read().astype(mx.float32) == 1.0).item())


def _scales(scale: LazyTensor, over: LazyTensor | None, divides: bool) -> mx.array:
    kind = FLOAT8.get(scale.stored_as, "e8m0")
    values = table(kind)[scale.read()]
    if over is None:
        return values
    whole = over.read().astype(mx.float32)
    whole = whole.reshape(-1, *([1] * (values.ndim - 1))) if whole.size > 1 else whole.reshape(())
    return values / whole if divides else values * whole


def _unpacked(
    weight: LazyTensor, scale: LazyTensor, over: LazyTensor | None, divides: bool, where: str
) -> mx.array:
    codes = weight.read().view(mx.uint8)
    shape = (*codes.shape[:-1], codes.shape[-1] * 2)
    grid = find_grid(shape[-3:], scale.shape[-3:])
    assert grid is not None
    return scaled(codes, _values, _scales(scale, over, divides), grid, where)


def _values(codes: mx.array) -> mx.array:
    return nibbles()[codes.view(mx.uint8)].reshape(codes.shape[0], -1)


def _unpacked_fp6(weight: LazyTensor, scale: LazyTensor, where: str) -> mx.array:
    codes = weight.read().view(mx.uint8)
    grid = find_grid((codes.shape[0], codes.shape[1] * 4 // 3), scale.shape)
    assert grid is not None

    def decode(part: mx.array) -> mx.array:
        threes = part.reshape(part.shape[0], -1, 3).astype(mx.uint32)
        word = threes[..., 0] | (threes[..., 1] << 8) | (threes[..., 2] << 16)
        four = mx.stack([(word >> shift) & 0x3F for shift in (0, 6, 12, 18)], axis=-1)
        return e2m3()[four].reshape(part.shape[0], -1)

    return scaled(codes, decode, _scales(scale, None, False), grid, where)
