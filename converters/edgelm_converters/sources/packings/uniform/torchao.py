"""torchao's integer weights as transformers 5 saves them: a tensor subclass taken apart into `_weight_qdata`,
`_weight_scale`, ….

What a module is follows from its parts; the JSON in a file's header is asked for the width of codes and the shape of padded
weights, and both are checked:

- int8 `qdata` [R, C] with `scale` [R, C / g], [R, 1] or [1, 1] and perhaps a `zero_point` of that shape (`Int8Tensor`,
  `IntxUnpackedToInt8Tensor`, which keeps 1 to 8 bits in bytes): w = (q - zero) * scale;
- uint8 `qdata` [R, C / 2], the even inputs in the low halves as signed 4-bit codes, `scale` and `zero_point` [C / g, R]
  (`Int4Tensor`): w = q * scale + zero.

- int32 `qdata` of four dimensions with `scale_and_zero` (`Int4TilePackedTo4dTensor`): see `tinygemm.py`.

`Int4PlainInt32Tensor` is a layout for one kind of GPU and refused, as is anything that scales activations first
(`act_pre_scale`).
Source: torchao 0.18 `prototype/safetensors/safetensors_support.py`, `quantization/quantize_/workflows/`; `int4_row_quantize_zp`
and `pack_int4` of mslk `quantize/shuffle.py`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import mlx.core as mx

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.packed_format import SCALE_DTYPES, PackedSource, Presented
from edgelm_converters.sources.packings.uniform.affine_weight import AffineWeight, StoredGrid, grid_of
from edgelm_converters.sources.packings.uniform.describe import describe
from edgelm_converters.sources.packings.uniform.module_parts import ModuleParts, is_transposed, scale_dtype
from edgelm_converters.sources.packings.uniform.tinygemm import present_tiles

PREFIX = "_weight_"
QDATA = f"{PREFIX}qdata"
ZERO_DTYPES = (mx.int8, *SCALE_DTYPES)
PAIRS = f"{PREFIX}scale_and_zero"
LAYOUTS = (f"{PREFIX}per_tensor_scale", f"{PREFIX}act_pre_scale")
"""Parts that only layouts have which are not read."""
WIDTHS = {f"int{bits}": bits for bits in range(1, 9)}


class TorchAO:
    """Saved by transformers 5 with a `TorchAoConfig`."""

    name = "torchao"

    def recognise(self, source: PackedSource) -> bool:
        """Tell from settings and names of tensors whether the checkpoint is in this format."""
        return source.method in ("torchao", "") and any(
            parts[QDATA].dtype in (mx.int8, mx.int32) or parts[QDATA].stored_as == "U8"
            for parts in source.of_modules(QDATA).values()
        )

    def present(self, source: PackedSource, result: Presented) -> None:
        """Put every module of the format into `result`; see `PackedFormat`."""
        dtype, said = scale_dtype(source), source.metadata()
        for path, tensors in source.of_modules(QDATA).items():
            parts = ModuleParts(source, path, tensors)
            _refuse_layouts(parts)
            about = _described(said.get(f"{path}.weight"))
            if PAIRS in parts:
                present_tiles(parts, QDATA, PAIRS, about.get("shape"), result)
            elif parts.tensors[QDATA].dtype == mx.int8:
                _present_int8(parts, result, dtype, _bits(about))
            else:
                _present_int4(parts, result)
            result.used |= parts.names(*(name for name in tensors if name.startswith(PREFIX)))
        describe(self.name, result)


def _refuse_layouts(parts: ModuleParts) -> None:
    qdata = parts.tensors[QDATA]
    is_known = qdata.dtype == mx.int8 or qdata.stored_as == "U8" or PAIRS in parts
    named = next((name for name in LAYOUTS if name in parts), None)
    if named or not is_known:
        what = f"with {named}" if named else f"of {qdata.stored_as} codes in {len(qdata.shape)} dimensions"
        raise UnsupportedError(
            f"{parts.source.where}: {parts.path} is packed by torchao {what}, a layout that edgelm does not read",
            hint="look for a release of the same model in int8 or plain int4, in bfloat16 or as GGUF",
        )


def _described(said: str | None) -> Mapping[str, Any]:
    """What the header says of a weight; empty where that is nothing."""
    try:
        weight = json.loads(said or "{}")
    except (ValueError, RecursionError):
        return {}
    about = weight.get("_data") if isinstance(weight, dict) else None
    return about if isinstance(about, dict) else {}


def _bits(about: Mapping[str, Any]) -> int:
    """Return how many bits of a byte are used; 8 where nothing is said."""
    target = about.get("target_dtype")
    return WIDTHS.get(str(target.get("_data")), 8) if isinstance(target, dict) else 8


def _present_int8(parts: ModuleParts, result: Presented, dtype: mx.Dtype, bits: int) -> None:
    qdata = parts.take(QDATA, (mx.int8,), 2)
    scale = parts.floats(f"{PREFIX}scale")
    rows, columns = qdata.shape
    zero = parts.take(f"{PREFIX}zero_point", ZERO_DTYPES, None) if f"{PREFIX}zero_point" in parts else None
    if zero is not None and zero.shape != scale.shape:
        raise parts.refuse(f"have zero points of {list(zero.shape)}, expected {list(scale.shape)}")
    per_row = scale.shape[1] if len(scale.shape) == 2 else 1
    if (len(scale.shape) > 2 or (scale.shape and scale.shape[0] not in (1, rows))) or columns % per_row:
        raise parts.refuse(f"have scales of {list(scale.shape)} for a weight of {[rows, columns]}")

    def grid() -> StoredGrid:
        scales = mx.broadcast_to(scale.read().reshape(-1, per_row).astype(mx.float32), (rows, per_row))
        middle = 1 << (bits - 1)
        return grid_of(
            scales, middle if zero is None else zero.read().reshape(-1, per_row).astype(mx.float32) + middle
        )

    is_narrowed = scale.dtype == mx.float32 and dtype != mx.float32
    AffineWeight(
        rows,
        columns,
        bits,
        f"torchao int{bits}",
        dtype if is_narrowed else scale.dtype,
        functools.partial(_signed_codes, parts, qdata, bits),
        grid,
        columns // per_row,
        is_narrowed=is_narrowed,
    ).present(parts.path, result, is_transposed=is_transposed(parts.source, parts.path))


def _signed_codes(parts: ModuleParts, qdata: LazyTensor, bits: int, start: int, stop: int) -> mx.array:
    """Codes of signed bytes: -2^(bits - 1) … 2^(bits - 1) - 1 become 0 … 2^bits - 1."""
    codes = qdata.read()[start:stop].view(mx.uint8) + (1 << (bits - 1))
    if bits < 8 and (codes >> bits).any().item():
        raise parts.refuse(f"have codes that do not fit the {bits} bits which the file's header gives them")
    return codes


def _present_int4(parts: ModuleParts, result: Presented) -> None:
    qdata = parts.take(QDATA, (mx.uint8,), 2)
    scale, zero = parts.floats(f"{PREFIX}scale", 2), parts.floats(f"{PREFIX}zero_point", 2)
    rows, columns = qdata.shape[0], qdata.shape[1] * 2
    if scale.shape[1] != rows or zero.shape != scale.shape or columns % scale.shape[0]:
        raise parts.refuse(f"have scales of {list(scale.shape)} for a weight of {[rows, columns]}")

    def codes(start: int, stop: int) -> mx.array:
        pairs = qdata.read()[start:stop]
        return mx.stack([pairs & 15, pairs >> 4], axis=-1).reshape(-1, columns) ^ 8

    def grid() -> StoredGrid:
        scales = scale.read().T.astype(mx.float32)
        return StoredGrid(scales, zero.read().T.astype(mx.float32) - 8 * scales)

    AffineWeight(
        rows, columns, 4, "torchao int4", scale.dtype, codes, grid, columns // scale.shape[0]
    ).present(parts.path, result, is_transposed=is_transposed(parts.source, parts.path))
