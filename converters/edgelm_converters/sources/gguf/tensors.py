"""Stored tensors → lazy MLX arrays, a few million values at a time.

Peak memory of a read is the result plus one slice, never a second copy of the result. Types that one of MLX's
formats can hold become packed tensors; float types stay what they are (float64 becomes float32, which is the widest that
MLX computes); every other type is dequantized to float32 and named for requantization. Does not know architectures.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.gguf.gathered import Gathered, Target
from edgelm_converters.sources.gguf.reader import StoredTensor
from edgelm_converters.sources.gguf.types.blocks import PACKINGS, Packing, pack_codes
from edgelm_converters.sources.gguf.types.kinds import Kind
from edgelm_converters.sources.gguf.types.widths import STEPS, chosen_widths, settings_of

Array = npt.NDArray[Any]
Decode = Callable[[Array], tuple[Array, ...]]
"""Rows of bytes [R, row bytes] → arrays of R rows."""

FLOATS = {
    Kind.F32: (mx.float32, np.float32),
    Kind.F16: (mx.float16, np.float16),
    Kind.BF16: (mx.bfloat16, np.uint16),
    Kind.F64: (mx.float32, np.float64),
}

DECODED = tuple(kind.name for kind in (*PACKINGS, *STEPS))


@dataclass
class TensorSource:
    """Presents stored tensors as lazy ones, and remembers how they are quantized.

    Of the last packed module that was read, the parts not yet asked for are kept, so that a triple is
    decoded once; they are let go as soon as any other tensor is read.
    """

    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    quantization: dict[str, dict[str, Any]] = field(default_factory=dict)
    _foreign: dict[str, set[Kind]] = field(default_factory=dict, repr=False)
    """Modules of types that MLX cannot hold."""
    _stored: dict[str, StoredTensor] = field(default_factory=dict, repr=False)
    _kept: dict[str, mx.array] = field(default_factory=dict, repr=False)

    def add(self, target: Target) -> None:
        """Present what the rows of `target` hold under its name.

        Raises:
            UnsupportedError: a type that nothing here can decode.
        """
        module, _, last = target.name.rpartition(".")
        is_matrix = len(target.shape) > 1 and last == "weight"
        stored, kinds = target.source.first, target.source.kinds
        _check_known(target.source)
        self._stored.update((source.name, source) for source in target.source.sources)
        if is_matrix and stored.kind in PACKINGS and len(kinds) == 1 and _blocks_moved(target) is not None:
            self._add_packed(target, module, PACKINGS[stored.kind])
            return
        if target.compute is not None or len(kinds) > 1:
            self._add_plain(target, mx.float32, None)
        elif is_matrix and stored.kind in PACKINGS:
            self._add_packed(target, module, PACKINGS[stored.kind])
            return
        elif stored.kind in FLOATS:
            self._add_plain(target, FLOATS[stored.kind][0], _kept_float(stored))
        else:
            self._add_plain(target, mx.float32, _to_float32(stored))
        if is_matrix and not kinds <= set(FLOATS):
            self._foreign[module] = kinds if target.compute is None else {*kinds, Kind.F32}

    @property
    def requantized(self) -> dict[str, dict[str, Any]]:
        """What modules of types that MLX cannot hold become: known once all tensors were added."""
        weights: Counter[Kind] = Counter()
        for module, kinds in self._foreign.items():
            if len(kinds) == 1:
                weights.update(dict.fromkeys(kinds, math.prod(self.tensors[f"{module}.weight"].shape)))
        outside = (name for name in self.tensors if name.removesuffix(".weight") not in self._foreign)
        mixed = [module for module, kinds in self._foreign.items() if len(kinds) > 1]
        other_bytes = sum(self.tensors[name].nbytes for name in outside)
        other_bytes += sum(self.tensors[f"{module}.weight"].nbytes * 9 // 32 for module in mixed)
        file_bytes = sum(stored.size_bytes for stored in self._stored.values())
        chosen = chosen_widths(weights, other_bytes, file_bytes)
        one_kind = {module: kinds for module, kinds in self._foreign.items() if len(kinds) == 1}
        return {
            **{module: dict(chosen[kind]) for module, (kind,) in one_kind.items()},
            **{module: settings_of(max(map(_bits_of, self._foreign[module])), 32) for module in mixed},
        }

    def add_scalars(self, values: Mapping[str, float]) -> None:
        """Present `values` as tensors of one value each."""
        for name, value in values.items():
            read = functools.partial(mx.array, value, mx.float32)
            self.tensors[name] = LazyTensor((), mx.float32, read, Kind.F32.name)

    def _add_plain(self, target: Target, dtype: mx.Dtype, decode: Decode | None) -> None:
        read = functools.partial(self._read_plain, target, dtype, decode)
        self.tensors[target.name] = LazyTensor(target.shape, dtype, read, target.source.first.kind.name)

    def _add_packed(self, target: Target, module: str, packing: Packing) -> None:
        *outer, width = target.shape
        factor = mx.float16 if packing.mode == "affine" else mx.uint8
        for part in packing.parts:
            columns, dtype = width // packing.group_size, factor
            if part == "weight":
                columns, dtype = width * packing.bits // 32, mx.uint32
            read = functools.partial(self._read_part, target, module, part)
            stored_as = target.source.first.kind.name
            self.tensors[f"{module}.{part}"] = LazyTensor((*outer, columns), dtype, read, stored_as)
        self.quantization[module] = packing.settings

    def repeat(self, module: str, other: str) -> None:
        """Present a module's tensors under another's name too, as they are quantized."""
        for name in [name for name in self.tensors if name.startswith(f"{module}.")]:
            self.tensors[other + name.removeprefix(module)] = self.tensors[name]
        if module in self.quantization:
            self.quantization[other] = self.quantization[module]
        if module in self._foreign:
            self._foreign[other] = self._foreign[module]

    def _read_plain(self, target: Target, dtype: mx.Dtype, decode: Decode | None) -> mx.array:
        self._kept.clear()
        if decode is None:
            return _computed(target)
        (values,) = read_rows(target.source, decode)
        # numpy has no bfloat16; its bits come as uint16.
        values = values.view(dtype) if values.dtype != dtype else values
        return values.reshape(target.shape)

    def _read_part(self, target: Target, module: str, part: str) -> mx.array:
        name = f"{module}.{part}"
        if name not in self._kept:
            self._kept.clear()
            stored = target.source.first
            parts = read_rows(target.source, _to_packed(stored))
            blocks = _blocks_moved(target)
            if blocks is not None:
                parts = tuple(array.reshape(len(array), len(blocks), -1)[:, blocks] for array in parts)
            shaped = (array.reshape(*target.shape[:-1], -1) for array in parts)
            names = (f"{module}.{each}" for each in PACKINGS[stored.kind].parts)
            self._kept.update(zip(names, shaped, strict=True))
        return self._kept.pop(name)


def _blocks_moved(target: Target) -> mx.array | None:
    """Which stored block each block of a row is, where columns move and blocks stay whole; None elsewhere."""
    if target.columns is None:
        return None
    size = PACKINGS[target.source.first.kind].group_size
    columns = target.columns()
    if len(columns) % size:
        return None
    blocks = columns.reshape(-1, size)
    whole = (blocks[:, :1] % size == 0) & (blocks == blocks[:, :1] + np.arange(size))
    return mx.array(blocks[:, 0] // size) if whole.all() else None


def read_vector(stored: StoredTensor) -> npt.NDArray[np.float32]:
    """Read a small tensor of floats as float32.

    Raises:
        FormatError: it holds no floats, or the file has become shorter.
    """
    if stored.kind not in FLOATS:
        raise FormatError(
            f"{stored.path}: tensor {stored.name!r} is stored as {stored.kind.name}, expected floats"
        )
    return _whole(Gathered((stored,))).reshape(-1)


def read_rows(source: Gathered, decode: Decode) -> tuple[mx.array, ...]:
    """Read and decode rows, a slice at a time.

    Args:
        decode: what to make of a slice's bytes.

    Raises:
        FormatError: the file has become shorter, or holds values that float16 scales cannot.
    """
    results: list[mx.array] = []
    at, count = 0, source.row_count
    for raw in source.slices():
        arrays = decode(raw)
        if raw.shape[0] == count:
            return tuple(mx.array(array) for array in arrays)
        if not results:
            results = [mx.zeros((count, *array.shape[1:]), mx.array(array[:0]).dtype) for array in arrays]
        for result, array in zip(results, arrays, strict=True):
            result[at : at + raw.shape[0]] = mx.array(array)
        # Evaluated here, the update happens in place.
        mx.eval(results)
        at += raw.shape[0]
    return tuple(results)


def _computed(target: Target) -> mx.array:
    """A tensor that is computed from others, or made of others of several types, in float32."""
    source = target.source
    stored = [_whole(Gathered((each,))).reshape(each.shape) for each in source.sources]
    if target.compute is not None:
        values = target.compute(stored)
    else:
        width = () if source.by_item else (source.first.shape[-1],)
        rows = np.concatenate([each.reshape(-1, *width) for each in stored])
        values = rows[source.order()] if source.order else rows
    _check_finite(source.first, values, "values")
    return mx.array(np.ascontiguousarray(values, dtype=np.float32).reshape(target.shape))


def _whole(source: Gathered) -> npt.NDArray[np.float32]:
    (values,) = read_rows(source, _to_float32(source.first))
    return np.asarray(values, dtype=np.float32)


def _check_known(source: Gathered) -> None:
    for stored in source.sources:
        if stored.kind not in FLOATS and stored.kind not in PACKINGS and stored.kind not in STEPS:
            raise UnsupportedError(
                f"{stored.path}: tensor {stored.name!r} is stored as {stored.kind.name}, "
                f"expected a float type or one of {', '.join(DECODED)}"
            )


def _bits_of(kind: Kind) -> int:
    """The bits of a matrix with rows of this type that are computed, or stand beside rows of others."""
    if kind in FLOATS:
        return 0
    packing = PACKINGS.get(kind)
    return packing.bits if packing is not None and packing.mode == "affine" and packing.bits > 2 else 8


def _kept_float(stored: StoredTensor) -> Decode:
    dtype = FLOATS[stored.kind][1]
    if stored.kind is Kind.F64:
        return _to_float32(stored)
    return lambda raw: (raw.view(dtype),)


def _to_float32(stored: StoredTensor) -> Decode:
    def decode(raw: Array) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            values = _dequantized(raw, stored)
        _check_finite(stored, values, "values")
        return (values,)

    return decode


def _dequantized(raw: Array, stored: StoredTensor) -> Array:
    """What ggml computes of rows of bytes, in float32."""
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    if stored.kind is Kind.F64:
        return raw.view(np.float64).astype(np.float32)
    if stored.kind in (Kind.Q1_0, Kind.Q2_0):  # which gguf 0.19 cannot unpack
        codes, scales, biases = PACKINGS[stored.kind].split(raw.reshape(-1, stored.block_bytes))
        return (codes * scales + biases).reshape(raw.shape[0], -1)
    return np.asarray(dequantize(raw, GGMLQuantizationType(stored.kind)))


def _to_packed(stored: StoredTensor) -> Decode:
    packing = PACKINGS[stored.kind]

    def decode(raw: Array) -> tuple[Array, ...]:
        rows = raw.shape[0]
        blocks = raw.reshape(-1, stored.block_bytes)
        with np.errstate(all="ignore"):
            codes, *factors = packing.split(blocks)
            if packing.mode == "affine":
                factors = [part.astype(np.float16) for part in factors]
        for factor in factors:
            _check_scales(stored, factor)
        codes = pack_codes(codes.reshape(rows, -1), packing.bits)
        return (codes, *(factor.reshape(rows, -1) for factor in factors))

    return decode


LARGEST_SCALE = {Kind.MXFP4: 252, Kind.NVFP4: 0x7E}
"""The largest scale (2^125, 448) whose block has no value beyond float32; the last codes are not numbers."""


def _check_scales(stored: StoredTensor, factor: Array) -> None:
    if factor.dtype != np.uint8:
        _check_finite(stored, factor, "scales")
    elif (factor > LARGEST_SCALE[stored.kind]).any():
        raise FormatError(
            f"{stored.path}: tensor {stored.name!r} ({stored.kind.name}) has a scale of code {int(factor.max())},"
            f" expected at most {LARGEST_SCALE[stored.kind]}",
            hint="the file is damaged",
        )


def _check_finite(stored: StoredTensor, values: Array, what: str) -> None:
    if not np.isfinite(values).all():
        raise FormatError(
            f"{stored.path}: tensor {stored.name!r} ({stored.kind.name}) has {what} "
            f"that are not finite in float{values.itemsize * 8}",
            hint="the file is damaged, or its weights are too large for half precision",
        )
