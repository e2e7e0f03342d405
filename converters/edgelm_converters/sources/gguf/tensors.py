"""Stored tensors → lazy MLX arrays, a few million values at a time.

Peak memory of a read is the result plus one slice, never a second copy of the result. Types that MLX's
affine quantization can hold become packed triples; float types stay what they are; every other type is
dequantized to float32 and named for requantization. Does not know architectures.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from gguf.constants import GGMLQuantizationType as Kind

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.gguf.blocks import GROUP_SIZE, PACKINGS, Packing, pack_codes
from edgelm_converters.sources.gguf.cursor import truncated
from edgelm_converters.sources.gguf.names import Target
from edgelm_converters.sources.gguf.reader import StoredTensor

Array = npt.NDArray[Any]
Decode = Callable[[Array], tuple[Array, ...]]
"""Rows of bytes [R, row bytes] → arrays of R rows."""

SLICE_VALUES = 1 << 22
"""16 MB of float32."""
FLOATS = {
    Kind.F32: (mx.float32, np.float32),
    Kind.F16: (mx.float16, np.float16),
    Kind.BF16: (mx.bfloat16, np.uint16),
}

REQUANTIZED_BITS = {
    Kind.Q6_K: 8,
    Kind.IQ4_NL: 8, Kind.IQ4_XS: 8, Kind.MXFP4: 8, Kind.NVFP4: 8,
    Kind.Q3_K: 6, Kind.IQ3_S: 6, Kind.IQ3_XXS: 6, Kind.IQ2_S: 6,
    Kind.Q2_K: 5, Kind.IQ2_XS: 5, Kind.IQ2_XXS: 5,
    Kind.IQ1_S: 4, Kind.IQ1_M: 4,
    Kind.TQ1_0: 8, Kind.TQ2_0: 8,
}  # fmt: skip
"""Bits that add no measurable loss: the fewest whose error is below a quarter of the least that the type
itself can have on Gaussian weights (2^-bits per weight, Shannon), so that the total grows by 3% at most.
Q6_K at 8 bits: 0.47% beside its own 1.7%, total 3.8% up; ternary weights are often native, hence 8."""
DECODED = tuple(kind.name for kind in (*PACKINGS, *REQUANTIZED_BITS))


def settings_of(bits: int) -> dict[str, Any]:
    """Return the affine settings that blocks of `bits` become."""
    return {"group_size": GROUP_SIZE, "bits": bits, "mode": "affine"}


@dataclass
class TensorSource:
    """Presents stored tensors as lazy ones, and remembers how they are quantized.

    Of the last packed module that was read, the parts not yet asked for are kept, so that a triple is
    decoded once; they are let go as soon as any other tensor is read.
    """

    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    quantization: dict[str, dict[str, Any]] = field(default_factory=dict)
    requantized: dict[str, dict[str, Any]] = field(default_factory=dict)
    _kept: dict[str, mx.array] = field(default_factory=dict, repr=False)

    def add(self, stored: StoredTensor, target: Target) -> None:
        """Present `stored` under the name, row order and offset of `target`.

        Raises:
            UnsupportedError: a type that nothing here can decode.
        """
        module, _, last = target.name.rpartition(".")
        is_matrix = len(stored.shape) == 2 and last == "weight"
        if is_matrix and stored.kind in PACKINGS:
            self._add_packed(stored, target, module, PACKINGS[stored.kind])
        elif stored.kind in FLOATS and not target.offset:
            self._add_plain(stored, target, FLOATS[stored.kind][0], _kept_float(stored))
        elif stored.kind in FLOATS or stored.kind in PACKINGS or stored.kind in REQUANTIZED_BITS:
            self._add_plain(stored, target, mx.float32, _to_float32(stored))
            if is_matrix and stored.kind in REQUANTIZED_BITS:
                self.requantized[module] = settings_of(REQUANTIZED_BITS[stored.kind])
        else:
            raise UnsupportedError(
                f"{stored.path}: tensor {stored.name!r} is stored as {stored.kind.name}, "
                f"expected a float type or one of {', '.join(DECODED)}"
            )

    def _add_plain(self, stored: StoredTensor, target: Target, dtype: mx.Dtype, decode: Decode) -> None:
        read = functools.partial(self._read_plain, stored, target, dtype, decode)
        self.tensors[target.name] = LazyTensor(stored.shape, dtype, read, stored.kind.name)

    def _add_packed(self, stored: StoredTensor, target: Target, module: str, packing: Packing) -> None:
        rows, width = stored.shape
        groups = (rows, width // GROUP_SIZE)
        parts = {
            "weight": ((rows, width * packing.bits // 32), mx.uint32),
            "scales": (groups, mx.float16),
            "biases": (groups, mx.float16),
        }
        for part, (shape, dtype) in parts.items():
            read = functools.partial(self._read_part, stored, target, module, part)
            self.tensors[f"{module}.{part}"] = LazyTensor(shape, dtype, read, stored.kind.name)
        self.quantization[module] = settings_of(packing.bits)

    def _read_plain(self, stored: StoredTensor, target: Target, dtype: mx.Dtype, decode: Decode) -> mx.array:
        self._kept.clear()
        is_vector = len(stored.shape) == 1
        (values,) = read_rows(stored, decode, 0 if is_vector else target.heads)
        # numpy has no bfloat16; its bits come as uint16.
        values = values.view(dtype) if values.dtype != dtype else values
        if is_vector and target.heads:
            values = values.reshape(target.heads, -1, 2).swapaxes(1, 2)
        return (values - target.offset if target.offset else values).reshape(stored.shape)

    def _read_part(self, stored: StoredTensor, target: Target, module: str, part: str) -> mx.array:
        name = f"{module}.{part}"
        if name not in self._kept:
            self._kept.clear()
            parts = read_rows(stored, _to_triple(stored), target.heads)
            self._kept.update(
                zip((f"{module}.{each}" for each in ("weight", "scales", "biases")), parts, strict=True)
            )
        return self._kept.pop(name)


def read_vector(stored: StoredTensor) -> npt.NDArray[np.float32]:
    """Read a small tensor of floats as float32.

    Raises:
        FormatError: it holds no floats, or the file has become shorter.
    """
    if stored.kind not in FLOATS:
        raise FormatError(
            f"{stored.path}: tensor {stored.name!r} is stored as {stored.kind.name}, expected floats"
        )
    (values,) = _to_float32(stored)(next(_slices(stored, 1)))
    return np.asarray(values.reshape(-1), dtype=np.float32)


def read_rows(stored: StoredTensor, decode: Decode, heads: int = 0) -> tuple[mx.array, ...]:
    """Read and decode all rows of a tensor, a slice at a time.

    Args:
        decode: what to make of a slice's bytes.
        heads: un-permute the rows of this many heads; 0 leaves them where they are.

    Raises:
        FormatError: the file has become shorter, or holds values that float16 scales cannot.
    """
    head_rows = stored.rows // heads if heads else 1
    results: list[mx.array] = []
    at = 0
    for raw in _slices(stored, head_rows):
        arrays = decode(_unpermute(raw, head_rows) if heads else raw)
        if raw.shape[0] == stored.rows:
            return tuple(mx.array(array) for array in arrays)
        if not results:
            results = [
                mx.zeros((stored.rows, *array.shape[1:]), mx.array(array[:0]).dtype) for array in arrays
            ]
        for result, array in zip(results, arrays, strict=True):
            result[at : at + raw.shape[0]] = mx.array(array)
        # Evaluated here, the update happens in place.
        mx.eval(results)
        at += raw.shape[0]
    return tuple(results)


def _slices(stored: StoredTensor, head_rows: int) -> Iterator[Array]:
    """The tensor's bytes as [R, row bytes], whole heads at a time, about SLICE_VALUES values each."""
    step = max(1, SLICE_VALUES // (stored.shape[-1] * head_rows)) * head_rows
    for start in range(0, stored.rows, step):
        rows = min(step, stored.rows - start)
        length = rows * stored.row_bytes
        yield _read_bytes(stored, start * stored.row_bytes, length).reshape(rows, stored.row_bytes)


def _read_bytes(stored: StoredTensor, start: int, length: int) -> Array:
    """Read, not mapped: a map counts as this process's memory, and a file that shrank would crash it."""
    path = stored.path
    try:
        raw = np.fromfile(path, np.uint8, length, offset=stored.begin + start)
    except OSError as error:
        raise FormatError(f"{path} can no longer be read: {error}") from error
    if raw.size < length:
        what = f"tensor {stored.name!r}"
        raise truncated(path, what, stored.begin, stored.size_bytes, path.stat().st_size)
    return raw


def _unpermute(raw: Array, head_rows: int) -> Array:
    """Undo convert_hf_to_gguf's permute: in each head, rows (0, h/2, 1, h/2 + 1, …) → (0, 1, 2, …).

    Args:
        raw: [heads * head_rows, row bytes].
    """
    pairs = raw.reshape(-1, head_rows // 2, 2, raw.shape[-1])
    return pairs.swapaxes(1, 2).reshape(raw.shape)


def _kept_float(stored: StoredTensor) -> Decode:
    dtype = FLOATS[stored.kind][1]
    return lambda raw: (raw.view(dtype),)


def _to_float32(stored: StoredTensor) -> Decode:
    def decode(raw: Array) -> tuple[Array, ...]:
        from gguf.quants import dequantize

        with np.errstate(all="ignore"):
            values = dequantize(raw, stored.kind)
        _check_finite(stored, values, "values")
        return (values,)

    return decode


def _to_triple(stored: StoredTensor) -> Decode:
    packing = PACKINGS[stored.kind]

    def decode(raw: Array) -> tuple[Array, ...]:
        rows = raw.shape[0]
        blocks = raw.reshape(-1, stored.block_bytes)
        with np.errstate(all="ignore"):
            codes, scales, biases = packing.split(blocks)
            halves = [part.astype(np.float16).reshape(rows, -1) for part in (scales, biases)]
        for half in halves:
            _check_finite(stored, half, "scales")
        return (pack_codes(codes.reshape(rows, -1), packing.bits), *halves)

    return decode


def _check_finite(stored: StoredTensor, values: Array, what: str) -> None:
    if not np.isfinite(values).all():
        raise FormatError(
            f"{stored.path}: tensor {stored.name!r} ({stored.kind.name}) has {what} "
            f"that are not finite in float{values.itemsize * 8}",
            hint="the file is damaged, or its weights are too large for half precision",
        )
