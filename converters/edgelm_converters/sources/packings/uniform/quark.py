"""AMD Quark's integer weights: `weight`, `weight_scale` and `weight_zero_point`, described by specifications in the config.

A specification (`global_quant_config.weight`, or the one in `layer_quant_config` whose pattern a module's name fits)
has `dtype`, `qscheme` and `symmetric`. Per group the weight is stored transposed, [C, R], with scales [G, R]; per
channel and per tensor it lies as it is, with scales [R] or one. int4 and uint4 are eight to a word of 32 bits along
the last axis, in AWQ's order unless `export.pack_method` is `order`; int8 and uint8 are bytes. w = (code - zero) * scale.
Source: amd-quark 0.13 `torch/utils/pack.py`, `torch/export/nn/modules/realquantizer.py`,
`torch/export/main_export/quant_config_parser.py`.
"""

from __future__ import annotations

import fnmatch
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.packed_format import PackedSource, Presented
from edgelm_converters.sources.packings.uniform.affine_weight import AffineWeight, StoredGrid, grid_of
from edgelm_converters.sources.packings.uniform.awq import in_order
from edgelm_converters.sources.packings.uniform.describe import describe
from edgelm_converters.sources.packings.uniform.module_parts import ModuleParts, is_transposed
from edgelm_converters.sources.packings.uniform.streams import unpacked_stream

DTYPES = {"int4": (4, 8), "uint4": (4, 0), "int8": (8, 128), "uint8": (8, 0)}
"""Quark's dtype → bits of a code, and what is added to a code to make it unsigned."""
SCHEMES = ("per_group", "per_channel", "per_tensor")
WEIGHT, SCALE, ZERO = "weight", "weight_scale", "weight_zero_point"
Specification = Mapping[str, Any]


class QuarkIntegers:
    """Exported by AMD Quark in its own mode; its AWQ and FP8 modes are read as those."""

    name = "AMD Quark"

    def recognise(self, source: PackedSource) -> bool:
        """Tell from settings and names of tensors whether the checkpoint is in this format."""
        return source.method == "quark" and any(
            specification_of(source, path).get("dtype") in DTYPES for path in source.of_modules(SCALE)
        )

    def present(self, source: PackedSource, result: Presented) -> None:
        """Put every module of the format into `result`; see `PackedFormat`."""
        export = source.settings.get("export")
        is_reordered = not isinstance(export, Mapping) or export.get("pack_method", "reorder") == "reorder"
        for path, tensors in source.of_modules(SCALE).items():
            parts = ModuleParts(source, path, tensors)
            _present_module(parts, specification_of(source, path), is_reordered, result)
            result.used |= parts.names(WEIGHT, SCALE, ZERO)
        describe(self.name, result)


def specification_of(source: PackedSource, path: str) -> Specification:
    """Return how the weight of the module at `path` is said to be stored; empty where nothing is said."""
    settings = source.settings
    layers = settings.get("layer_quant_config")
    chosen = settings.get("global_quant_config")
    for pattern, each in layers.items() if isinstance(layers, Mapping) else ():
        if fnmatch.fnmatch(path, pattern):
            chosen = each
            break
    weight = chosen.get("weight") if isinstance(chosen, Mapping) else None
    if isinstance(weight, list) and len(weight) == 1:
        weight = weight[0]
    return weight if isinstance(weight, Mapping) else {}


@dataclass(frozen=True)
class _Packing:
    """How codes and zero points lie in the file."""

    bits: int
    offset: int
    is_reordered: bool

    def unpacked(self, stored: mx.array) -> mx.array:
        """Return the codes of the last axis, unsigned, in order."""
        if self.bits == 4:
            codes = unpacked_stream(stored, 4)
            return (in_order(codes) if self.is_reordered else codes) ^ self.offset
        return stored.astype(mx.int8).view(mx.uint8) ^ self.offset if self.offset else stored.view(mx.uint8)

    def one(self, stored: mx.array) -> float:
        """Return a single zero point: of four bits, it has a word of its own."""
        value = int(np.array(stored).reshape(()))
        return (value & 15) ^ self.offset if self.bits == 4 else value + self.offset


def _present_module(parts: ModuleParts, said: Specification, is_reordered: bool, result: Presented) -> None:
    dtype, scheme = said.get("dtype"), said.get("qscheme")
    if not isinstance(dtype, str) or dtype not in DTYPES or scheme not in SCHEMES:
        raise UnsupportedError(
            f"{parts.source.where}: {parts.path} is packed by AMD Quark as {dtype!r:.40}, {scheme!r:.40}, "
            f"expected {', '.join(DTYPES)}, {' or '.join(SCHEMES)}",
            hint="look for a release of the same model in bfloat16 or as GGUF",
        )
    bits, offset = DTYPES[dtype]
    is_grouped = scheme == "per_group"
    if bits == 4:
        stored = parts.words(WEIGHT, 2)
        outer, inner = stored.shape[0], stored.shape[1] * 8
    else:
        stored = parts.take(WEIGHT, (mx.int8, mx.uint8), 2)
        outer, inner = stored.shape
    rows, columns = (inner, outer) if is_grouped else (outer, inner)
    scale = parts.floats(SCALE)
    groups = _groups(parts, scale, rows, columns, is_grouped)
    packing = _Packing(bits, offset, is_reordered)
    weight = AffineWeight(
        rows,
        columns,
        bits,
        f"Quark {dtype}",
        scale.dtype,
        functools.partial(_codes, stored, packing, is_grouped),
        functools.partial(
            _grid, scale, _zeros(parts, bits, groups, rows), packing, is_grouped, (rows, groups)
        ),
        columns // groups,
    )
    weight.present(parts.path, result, is_transposed=is_transposed(parts.source, parts.path))


def _groups(parts: ModuleParts, scale: LazyTensor, rows: int, columns: int, is_grouped: bool) -> int:
    if not is_grouped:
        if math.prod(scale.shape) not in (1, rows):
            raise parts.refuse(f"have scales of {list(scale.shape)} for {rows} rows")
        return 1
    if len(scale.shape) != 2 or scale.shape[1] != rows or columns % scale.shape[0]:
        raise parts.refuse(f"have scales of {list(scale.shape)} for a weight of {[rows, columns]}")
    return scale.shape[0]


def _zeros(parts: ModuleParts, bits: int, groups: int, rows: int) -> LazyTensor | None:
    if ZERO not in parts:
        return None
    dtypes = (mx.int32, mx.uint32) if bits == 4 else (mx.int8, mx.uint8, mx.int32)
    zeros = parts.take(ZERO, dtypes, None)
    counts = {rows * groups // 8, rows * groups} if bits == 4 else {rows * groups}
    if math.prod(zeros.shape) not in {1, *counts}:
        raise parts.refuse(f"have zero points of {list(zeros.shape)} for {groups} groups of {rows} rows")
    return zeros


def _codes(stored: LazyTensor, packing: _Packing, is_grouped: bool, start: int, stop: int) -> mx.array:
    if not is_grouped:
        return packing.unpacked(stored.read()[start:stop])
    per = 8 if packing.bits == 4 else 1
    first, last = start // per, -(-stop // per)
    codes = packing.unpacked(mx.contiguous(stored.read()[:, first:last]))
    return mx.contiguous(codes[:, start - first * per : stop - first * per].T)


def _grid(
    scale: LazyTensor, zeros: LazyTensor | None, packing: _Packing, is_grouped: bool, shape: tuple[int, int]
) -> StoredGrid:
    def spread(values: mx.array) -> mx.array:
        values = values.astype(mx.float32)
        if values.size == 1:
            return mx.broadcast_to(values.reshape(1, 1), shape)
        return values.T if is_grouped else values.reshape(shape)

    scales = spread(scale.read())
    if zeros is None:
        return grid_of(scales, packing.offset)
    stored = zeros.read()
    if stored.size == 1:
        return grid_of(scales, packing.one(stored))
    return grid_of(scales, spread(packing.unpacked(stored)))
