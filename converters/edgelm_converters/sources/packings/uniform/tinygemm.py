"""torchao's `Int4TilePackedTo4dTensor`: codes in the order of a tensor core, with zero points that are added.

`qdata` [N / 8, K / (16 i), 32, i / 2] of 32-bit words, i the inner tiles (8): lane t of a warp holds row t / 4 of
eight, and word j of it eight columns of the 32 from 32 j on: 2 (t % 4 + 4 a + 8 b) + h for its nibbles 4 h + 2 b + a.
`scale_and_zero` [K / g, N, 2]: w = (code - 8) * scale + zero. N and K are padded (to 8 and 1,024); the weight's own
shape is in the header of the file. What an AMD card packs has the same shapes in another order, which nothing in the
file tells.
Source: PyTorch `aten/src/ATen/native/cuda/int4mm.cu` (`matrix_to_m16n8k16_Bint4_layout`, `_convert_weight_to_int4pack_cuda`);
torchao 0.18 `quantize_/workflows/int4/int4_tile_packed_to_4d_tensor.py`, `quantization/utils.py`
(`pack_tinygemm_scales_and_zeros`).
"""

from __future__ import annotations

import functools
from typing import Any

import mlx.core as mx

from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.packed_format import SCALE_DTYPES, Presented
from edgelm_converters.sources.packings.uniform.affine_weight import AffineWeight, StoredGrid
from edgelm_converters.sources.packings.uniform.module_parts import ModuleParts, is_transposed

BITS, MIDDLE = 4, 8
TILE_ROWS, LANES = 8, 32
INNER_WORDS = (1, 2, 4)


def present_tiles(parts: ModuleParts, qdata: str, grid: str, shape: Any, result: Presented) -> None:
    """Put one module into `result`.

    Args:
        qdata, grid: the names of its parts.
        shape: of the weight, as the header of the file says it.

    Raises:
        FormatError: its parts do not fit each other or the shape.
    """
    stored = parts.take(qdata, (mx.int32, mx.uint32), 4)
    pairs = parts.take(grid, SCALE_DTYPES, 3)
    tiles, outer, lanes, words = stored.shape
    padded = (tiles * TILE_ROWS, outer * words * LANES)
    groups = pairs.shape[0]
    if lanes != LANES or words not in INNER_WORDS or pairs.shape[1:] != (padded[0], 2) or padded[1] % groups:
        raise parts.refuse(f"have scales of {list(pairs.shape)} for codes of {list(stored.shape)}")
    if (
        not isinstance(shape, list)
        or len(shape) != 2
        or not all(type(size) is int and size > 0 for size in shape)
    ):
        raise parts.refuse(f"have the shape {shape!r:.60} in the file's header, expected two sizes")
    rows, columns = shape
    if rows > padded[0] or columns > padded[1]:
        raise parts.refuse(f"have the shape {shape!r:.60} in the file's header, but codes of {list(padded)}")
    size = padded[1] // groups
    AffineWeight(
        rows,
        columns,
        BITS,
        "torchao int4",
        pairs.dtype,
        functools.partial(_codes, stored, columns),
        functools.partial(_grid, pairs, rows, -(-columns // size)),
        size,
    ).present(parts.path, result, is_transposed=is_transposed(parts.source, parts.path))


def _codes(stored: LazyTensor, columns: int, start: int, stop: int) -> mx.array:
    first, last = start // TILE_ROWS, -(-stop // TILE_ROWS)
    words = stored.read()[first:last].view(mx.uint32)
    tiles, outer, _, inner = words.shape
    nibbles = (words[..., None] >> mx.arange(0, 32, BITS, dtype=mx.uint32)) & 15
    # tile, outer, row, t % 4, word, h, b, a → rows of columns.
    axes = nibbles.reshape(tiles, outer, TILE_ROWS, 4, inner, 2, 2, 2)
    rows = axes.transpose(0, 2, 1, 4, 6, 7, 3, 5).reshape(tiles * TILE_ROWS, -1)
    return rows[start - first * TILE_ROWS : stop - first * TILE_ROWS, :columns].astype(mx.uint8)


def _grid(pairs: LazyTensor, rows: int, groups: int) -> StoredGrid:
    both = pairs.read()[:groups, :rows].astype(mx.float32)
    scales = both[..., 0].T
    return StoredGrid(scales, both[..., 1].T - MIDDLE * scales)
