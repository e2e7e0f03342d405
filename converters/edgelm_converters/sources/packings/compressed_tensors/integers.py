"""Integers of compressed-tensors: `pack-quantized` (bit streams in int32) and `int-quantized` (int8).

Codes are stored unsigned, `q + 2^(bits - 1)`, and so are packed zero points, which lie along the rows: [O * bits / 32, G].
Symmetric modules have none. `weight_g_idx` gives the group of every column (act-order). Source: compressed-tensors 0.20,
`compressors/pack_quantized` and `compressors/naive_quantized`; the padded words and `g_idx` are those of versions before 0.13.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import mlx.core as mx

from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.float8.scale_grid import ScaleGrid, find_grid
from edgelm_converters.sources.packings.integers.affine import IntegerModule
from edgelm_converters.sources.packings.integers.bit_stream import padded_words_for, unpack, words_for
from edgelm_converters.sources.packings.packed_format import SCALE_DTYPES, PackedSource, Presented, lazily

Parts = Mapping[str, LazyTensor]
MAX_COLUMNS = 1 << 24


def present_packed(
    path: str, parts: Parts, bits_said: set[int], source: PackedSource, result: Presented
) -> None:
    """Present a module whose codes are a bit stream in int32.

    Args:
        bits_said: the widths that the settings speak of; the shapes decide among them.

    Raises:
        FormatError: its tensors do not fit together.
    """
    packed, scale = parts["weight_packed"], _scale(path, parts, source)
    columns = _columns(path, parts, source)
    rows = packed.shape[:-1]
    bits, is_padded = _width(path, packed, columns, bits_said, source)
    shape = (*rows, columns)
    grid = _grid(path, shape, scale, source)
    zeros = _packed_zeros(path, parts, bits, shape, scale, source)
    is_stream = not (is_padded and 32 % bits) and columns % 32 == 0
    words = lazily(
        lambda stored: stored.view(mx.uint32), packed.shape, mx.uint32, packed, stored_as=f"INT{bits}"
    )

    def codes() -> mx.array:
        stored = packed.read()
        return unpack(stored.reshape(-1, stored.shape[-1]), bits, columns, is_padded=is_padded)

    IntegerModule(
        path, shape, bits, words if is_stream else None, codes, scale, grid, zeros, f"{source.where}: {path}", f"INT{bits}",
        _order(path, parts, grid, source),
    ).present(result)  # fmt: skip


def present_int8(path: str, parts: Parts, source: PackedSource, result: Presented) -> None:
    """Present a module whose codes are int8 each, whatever their width was.

    Raises:
        FormatError: its tensors do not fit together.
    """
    weight, scale = parts["weight"], _scale(path, parts, source)
    grid = _grid(path, weight.shape, scale, source)
    zeros = parts.get("weight_zero_point")
    if zeros is not None and math.prod(zeros.shape) != math.prod(scale.shape):
        raise source.refuse(path, f"do not fit: zero points {zeros.shape}, scales {scale.shape}")
    moved = (
        None if zeros is None else lazily(_unsigned, scale.shape, mx.float32, _reshaped(zeros, scale.shape))
    )
    words = lazily(
        _as_words, (*weight.shape[:-1], weight.shape[-1] // 4), mx.uint32, weight, stored_as="INT8"
    )

    def codes() -> mx.array:
        return _from_signed(weight.read()).reshape(-1, weight.shape[-1])

    IntegerModule(
        path, weight.shape, 8, words if weight.shape[-1] % 4 == 0 else None, codes, scale, grid, moved,
        f"{source.where}: {path}", "INT8",
        _order(path, parts, grid, source),
    ).present(result)  # fmt: skip


def _from_signed(codes: mx.array) -> mx.array:
    return codes.view(mx.uint8) ^ 0x80


def _as_words(codes: mx.array) -> mx.array:
    return mx.contiguous(_from_signed(codes)).view(mx.uint32)


def _unsigned(zeros: mx.array) -> mx.array:
    return zeros.astype(mx.float32) + 128


def _reshaped(tensor: LazyTensor, shape: tuple[int, ...]) -> LazyTensor:
    return lazily(lambda values: values.reshape(shape), shape, tensor.dtype, tensor)


def _scale(path: str, parts: Parts, source: PackedSource) -> LazyTensor:
    scale = parts.get("weight_scale")
    if scale is None or scale.dtype not in SCALE_DTYPES:
        raise source.refuse(path, "lack a weight_scale of floats")
    return scale


def _grid(path: str, shape: tuple[int, ...], scale: LazyTensor, source: PackedSource) -> ScaleGrid:
    grid = find_grid(shape, scale.shape)
    if grid is None:
        raise source.refuse(path, f"do not fit: scales {scale.shape} for a weight of {shape}")
    return grid


def _columns(path: str, parts: Parts, source: PackedSource) -> int:
    """The width of a row: as `weight_shape` says, which is data."""
    shape, packed = parts.get("weight_shape"), parts["weight_packed"]
    if shape is None or shape.shape not in ((2,), (3,)) or mx.issubdtype(shape.dtype, mx.floating):
        raise source.refuse(path, "lack a weight_shape")
    values = [int(value) for value in shape.read().tolist()]  # type: ignore[union-attr, arg-type]
    if tuple(values[:-1]) != packed.shape[:-1] or not 0 < values[-1] <= MAX_COLUMNS:
        raise source.refuse(path, f"do not fit: weight_shape {values}, weight_packed {packed.shape}")
    return values[-1]


def _width(
    path: str, packed: LazyTensor, columns: int, said: set[int], source: PackedSource
) -> tuple[int, bool]:
    """(bits, whether words are padded): a width that is announced, or any if none is, with which the shapes agree."""
    words, widths = packed.shape[-1], [bits for bits in sorted(said) or range(1, 9) if 1 <= bits <= 8]
    for is_padded, count in ((False, words_for), (True, padded_words_for)):
        for bits in widths:
            if words == count(columns, bits):
                return bits, is_padded
    raise source.refuse(path, f"do not fit: {words} words for {columns} columns")


def _packed_zeros(
    path: str, parts: Parts, bits: int, shape: tuple[int, ...], scale: LazyTensor, source: PackedSource
) -> LazyTensor | None:
    zeros = parts.get("weight_zero_point")
    if zeros is None:
        return None
    rows = shape[-2]
    if (
        zeros.dtype == mx.int32
        and len(zeros.shape) == 2
        and len(scale.shape) == 2
        and zeros.shape[1] == scale.shape[1]
    ):
        is_padded = zeros.shape[0] != words_for(rows, bits)
        if not is_padded or zeros.shape[0] == padded_words_for(rows, bits):
            read = functools.partial(_along_rows, bits=bits, rows=rows, is_padded=is_padded)
            return lazily(read, scale.shape, mx.float32, zeros)
    if zeros.dtype == mx.int8 and math.prod(zeros.shape) == math.prod(scale.shape):
        middle = 1 << (bits - 1)
        return lazily(lambda stored: stored.astype(mx.float32) + middle, zeros.shape, mx.float32, zeros)
    raise source.refuse(path, f"do not fit: zero points {zeros.shape}, scales {scale.shape}")


def _along_rows(stored: mx.array, *, bits: int, rows: int, is_padded: bool) -> mx.array:
    codes = unpack(mx.contiguous(stored.T), bits, rows, is_padded=is_padded)
    return mx.contiguous(codes.T).astype(mx.float32)


def _order(path: str, parts: Parts, grid: ScaleGrid, source: PackedSource) -> LazyTensor | None:
    """The group of every column, where columns were not quantized in their order."""
    order = parts.get("weight_g_idx")
    if order is None:
        return None
    if order.shape != (grid.columns,) or mx.issubdtype(order.dtype, mx.floating):
        raise source.refuse(path, f"do not fit: weight_g_idx {order.shape} for {grid.columns} columns")
    groups = order.read().astype(mx.int32)
    if mx.all(groups == -1).item() or mx.all(groups == mx.arange(grid.columns) // grid.block[1]).item():
        return None
    if mx.any((groups < 0) | (groups >= grid.grid[1])).item():
        raise source.refuse(path, f"have a weight_g_idx outside of {grid.grid[1]} groups")
    return order
