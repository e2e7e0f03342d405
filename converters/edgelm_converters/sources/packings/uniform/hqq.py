"""HQQ: codes stacked along their rows, with zero points that are no integers.

A module keeps its description beside its codes, as tensors: `W_q`, `scale`, `zero`, `shape`, `axis`, `group_size`,
`nbits` and, as the bytes of a string, `packing`. The weight is grouped first, to [R * C / g, g] along the inputs
(`axis` 1) or [g, R * C / g] along the outputs (`axis` 0); then row i of k equal blocks of rows shares an item with row
i of the others, the first block in the highest bits. w = (code - zero) * scale.
Source: hqq 0.2.8 `core/quantize.py` (`Quantizer.dequantize`, `HQQLinear.state_dict`), `core/bitpack.py`, `core/utils.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.packed_format import SCALE_DTYPES, PackedSource, Presented
from edgelm_converters.sources.packings.uniform.affine_weight import AffineWeight, StoredGrid, grid_of
from edgelm_converters.sources.packings.uniform.describe import describe
from edgelm_converters.sources.packings.uniform.module_parts import ModuleParts, is_transposed

ITEMS = {
    "8bit_u8": (8, 1, mx.uint8), "4bit_u8": (4, 2, mx.uint8), "3bit_32": (3, 10, mx.int32),
    "2bit_u8": (2, 4, mx.uint8), "1bit_u8": (1, 8, mx.uint8),
}  # fmt: skip
"""`packing` → bits of a code, codes of an item, what an item is."""
META = (
    "W_q", "nbits", "group_size", "shape", "scale", "zero", "axis", "packing", "unpack_view_dtype", "view_as_float",
    "quant_scale", "quant_zero", "compute_dtype", "offload_meta", "encoded_state_dict", "stores_quant_config",
    "channel_wise", "optimize", "round_zero",
)  # fmt: skip
LONGEST_NAME = 64


class HQQ:
    """Published by hqq itself and by transformers 4."""

    name = "HQQ"

    def recognise(self, source: PackedSource) -> bool:
        """Tell from settings and names of tensors whether the checkpoint is in this format."""
        return source.method in ("hqq", "") and bool(source.of_modules("W_q"))

    def present(self, source: PackedSource, result: Presented) -> None:
        """Put every module of the format into `result`; see `PackedFormat`."""
        for path, tensors in source.of_modules("W_q").items():
            parts = ModuleParts(source, path, tensors)
            _present_module(parts, result)
            result.used |= parts.names(*META)
        describe(self.name, result)


@dataclass(frozen=True)
class _Stacked:
    """Codes as they lie: `count` blocks of rows that share items."""

    items: LazyTensor
    kind: mx.Dtype
    bits: int
    count: int
    width: int
    """Columns of the grouped weight."""
    rows: int
    """Rows of the grouped weight that are meant; the rest fills the last block up."""

    @property
    def block(self) -> int:
        """Rows of a block."""
        return self.items.nbytes // (self.kind.size * self.width)

    def read(self, start: int, stop: int) -> mx.array:
        """Return the codes of rows of the grouped weight, uint8 [stop - start, width]."""
        items = self.items.read().view(self.kind).reshape(self.block, self.width)
        rows = mx.arange(start, stop)
        shifts = ((self.count - 1 - rows // self.block) * self.bits).astype(self.kind)
        codes = items[rows % self.block] >> shifts[:, None]
        return (codes & ((1 << self.bits) - 1)).astype(mx.uint8)


def _present_module(parts: ModuleParts, result: Presented) -> None:
    rows, columns = _shape(parts)
    packing, axis = _text(parts, "packing"), parts.number("axis")
    if packing not in ITEMS or axis not in (0, 1):
        raise UnsupportedError(
            f"{parts.source.where}: {parts.path} is packed by HQQ as {packing!r} along axis {axis!r:.40}, "
            f"expected {', '.join(ITEMS)} along axis 0 or 1",
            hint="look for a release of the same model in bfloat16 or as GGUF",
        )
    bits, count, kind = ITEMS[packing]
    group_size = parts.number("group_size")
    if (
        isinstance(group_size, bool)
        or not isinstance(group_size, int)
        or group_size < 1
        or rows * columns % group_size
    ):
        raise parts.refuse(f"have groups of {group_size!r:.40} for a weight of {rows} x {columns}")
    groups = rows * columns // group_size
    grouped = (groups, group_size) if axis == 1 else (group_size, groups)
    items = parts.take("W_q", (kind, *SCALE_DTYPES), None)
    stacked = _Stacked(items, kind, bits, count, grouped[1], grouped[0])
    if items.nbytes != kind.size * grouped[1] * -(-grouped[0] // count):
        raise parts.refuse(f"have codes of {list(items.shape)} for a weight of {rows} x {columns}")
    scale, zero = parts.floats("scale"), parts.floats("zero")
    if math.prod(scale.shape) != groups or math.prod(zero.shape) not in (1, groups):
        raise parts.refuse(f"have {math.prod(scale.shape)} scales, expected {groups}")
    make = _along_inputs if axis == 1 and columns % group_size == 0 else _anyhow
    weight = make(stacked, scale, zero, (rows, columns), group_size, axis)
    weight.present(parts.path, result, is_transposed=is_transposed(parts.source, parts.path))


def _shape(parts: ModuleParts) -> tuple[int, int]:
    if parts.take("shape", (mx.int64, mx.int32), 1).shape != (2,):
        raise parts.refuse("have a shape that is not of two dimensions")
    rows, columns = (int(size) for size in parts.integers("shape"))
    if rows < 1 or columns < 1:
        raise parts.refuse(f"have a shape of {rows} x {columns}")
    return rows, columns


def _text(parts: ModuleParts, name: str) -> str:
    if math.prod(parts.take(name, (mx.uint8,), 1).shape) > LONGEST_NAME:
        raise parts.refuse(f"have a {name} that is no name")
    return bytes(parts.integers(name)).decode("ascii", "replace")


def _flat(scale: LazyTensor, zero: LazyTensor) -> tuple[mx.array, mx.array]:
    """Scales and zero points of all groups, in order."""
    scales = scale.read().reshape(-1)
    return scales, mx.broadcast_to(zero.read().reshape(-1), scales.shape)


def _along_inputs(
    stacked: _Stacked, scale: LazyTensor, zero: LazyTensor, shape: tuple[int, int], group_size: int, axis: int
) -> AffineWeight:
    rows, columns = shape
    per_row = columns // group_size
    return AffineWeight(
        rows,
        columns,
        stacked.bits,
        f"HQQ {stacked.bits}-bit",
        scale.dtype,
        lambda start, stop: stacked.read(start * per_row, stop * per_row).reshape(-1, columns),
        lambda: grid_of(*(part.reshape(rows, per_row) for part in _flat(scale, zero))),
        group_size,
    )


def _anyhow(
    stacked: _Stacked, scale: LazyTensor, zero: LazyTensor, shape: tuple[int, int], group_size: int, axis: int
) -> AffineWeight:
    """Groups along the outputs, or across the ends of rows: value f of the weight is in group f mod G or f / g."""
    rows, columns = shape
    groups = rows * columns // group_size
    is_even = axis == 0 and rows % group_size == 0

    def codes(start: int, stop: int) -> mx.array:
        first, last = start * columns // stacked.width, -(-stop * columns // stacked.width)
        flat = stacked.read(first, last).reshape(-1)
        return flat[start * columns - first * stacked.width :][: (stop - start) * columns].reshape(
            -1, columns
        )

    def grid() -> StoredGrid:
        flat = _flat(scale, zero)
        if is_even:
            return grid_of(*(part.reshape(-1, columns) for part in flat))
        index = mx.arange(rows * columns)
        index = index % groups if axis == 0 else index // group_size
        return grid_of(*(part[index].reshape(shape) for part in flat))

    return AffineWeight(
        rows,
        columns,
        stacked.bits,
        f"HQQ {stacked.bits}-bit",
        scale.dtype,
        codes,
        grid,
        row_groups=np.arange(rows) % (rows // group_size) if is_even else np.arange(rows),
    )
