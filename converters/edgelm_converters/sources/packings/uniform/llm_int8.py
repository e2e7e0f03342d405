"""bitsandbytes' LLM.int8: signed bytes with one scale a row.

`weight` [R, C] of int8 with `SCB` [R], the largest magnitude of each row, in float32: w = q * SCB / 127.
`weight_format` is 0, rows one after another; older releases could write the orders of GPU kernels (1 to 3), which
bitsandbytes refuses as well.
Source: bitsandbytes 0.50 `nn/modules.py`, `functional.int8_vectorwise_dequant`.
"""

from __future__ import annotations

import functools

import mlx.core as mx

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.packed_format import PackedSource, Presented
from edgelm_converters.sources.packings.uniform.affine_weight import AffineWeight, StoredGrid
from edgelm_converters.sources.packings.uniform.describe import describe
from edgelm_converters.sources.packings.uniform.module_parts import ModuleParts, is_transposed, scale_dtype

UNIT = 7.874015718698502e-3
"""1 / 127 as bitsandbytes has it."""
ORDERS = {1: "col32", 2: "col_turing", 3: "col_ampere"}


class LLMInt8:
    """Saved by transformers with `load_in_8bit`."""

    name = "bitsandbytes int8"

    def recognise(self, source: PackedSource) -> bool:
        """Tell from settings and names of tensors whether the checkpoint is in this format."""
        return source.method in ("bitsandbytes", "") and bool(source.of_modules("SCB"))

    def present(self, source: PackedSource, result: Presented) -> None:
        """Put every module of the format into `result`; see `PackedFormat`."""
        dtype = scale_dtype(source)
        for path, tensors in source.of_modules("SCB").items():
            parts = ModuleParts(source, path, tensors)
            _refuse_orders(parts)
            _present_module(parts, result, dtype)
            result.used |= parts.names("weight", "SCB", "weight_format")
        describe(self.name, result)


def _refuse_orders(parts: ModuleParts) -> None:
    order = parts.number("weight_format") if "weight_format" in parts else 0
    if order != 0:
        raise UnsupportedError(
            f"{parts.source.where}: {parts.path} is packed by bitsandbytes in the order "
            f"{ORDERS.get(order, order)!r:.40} of a GPU kernel, expected rows",
            hint="save the model again with bitsandbytes 0.45 or later, or look for a release in bfloat16 or as GGUF",
        )


def _present_module(parts: ModuleParts, result: Presented, dtype: mx.Dtype) -> None:
    weight, largest = parts.take("weight", (mx.int8,), 2), parts.floats("SCB", dimensions=1)
    rows, columns = weight.shape
    if largest.shape != (rows,):
        raise parts.refuse(f"have {largest.shape[0]} scales for {rows} rows")
    AffineWeight(
        rows,
        columns,
        8,
        "LLM.int8",
        dtype,
        functools.partial(_codes, weight),
        functools.partial(_grid, largest),
        columns,
        is_narrowed=dtype != mx.float32,
    ).present(parts.path, result, is_transposed=is_transposed(parts.source, parts.path))


def _codes(weight: LazyTensor, start: int, stop: int) -> mx.array:
    return weight.read()[start:stop].view(mx.uint8) ^ 128


def _grid(largest: LazyTensor) -> StoredGrid:
    scales = largest.read().astype(mx.float32)[:, None] * UNIT
    return StoredGrid(scales, scales * -128)
