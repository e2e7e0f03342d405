"""Codes in streams of bits: what most integer formats are stored as, and how a large matrix is taken apart in slices.

A little-endian stream puts code 0 into the lowest bits of the first word; 32 codes fill exactly `bits` words of 32.
GPTQ, AutoAWQ (along another axis and in another order) and MLX itself pack so. Shapes: R rows (outputs), C columns (inputs).
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from edgelm_converters.sources.packings.integers.bit_stream import unpack

SLICE_VALUES = 1 << 22
"""Weights taken apart at once: 4 MB of codes, 16 MB of float32."""
STORED_BITS = {1: 2, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8, 8: 8}
"""Bits of a code → the fewest that MLX stores affine codes in."""


def unpacked_stream(words: mx.array, bits: int) -> mx.array:
    """Take the codes out of little-endian streams that end at the edge of a word.

    Args:
        words: [..., W] of 32-bit integers.
        bits: 1 to 8.

    Returns:
        [..., W * 32 / bits] of uint8.
    """
    count = words.shape[-1] * 32 // bits
    if 8 % bits == 0:
        # Bytes take a quarter of the memory of words, and of the time.
        stored = mx.contiguous(words).view(mx.uint8)
        codes = [(stored >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
        return mx.stack(codes, axis=-1).reshape(*words.shape[:-1], count)
    return unpack(words.reshape(-1, words.shape[-1]), bits, count).reshape(*words.shape[:-1], count)


def in_slices(
    rows: int, columns: int, make: Callable[[int, int], mx.array], *, multiple: int = 1
) -> mx.array:
    """Make a matrix a slice of rows at a time, so that what it is made of is held for one slice only.

    Args:
        rows, columns: of the weight.
        make: (start, stop) → those rows of the result.
        multiple: where slices may begin.
    """
    step = max(1, SLICE_VALUES // (max(1, columns) * multiple)) * multiple
    if step >= rows:
        return make(0, rows)
    result: mx.array | None = None
    for start in range(0, rows, step):
        stop = min(rows, start + step)
        part = make(start, stop)
        if result is None:
            result = mx.zeros((rows, *part.shape[1:]), part.dtype)
        result[start:stop] = part
        # Evaluated here, the update happens in place.
        mx.eval(result)
    assert result is not None
    return result
