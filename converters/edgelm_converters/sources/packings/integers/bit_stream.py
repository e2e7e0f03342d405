"""Codes of a few bits in words of 32: the little-endian bit stream that MLX and compressed-tensors share, and padded words.

Shapes: n rows, I codes in a row, W words.
"""

from __future__ import annotations

import math

import mlx.core as mx


def words_for(count: int, bits: int) -> int:
    """Return the words that a bit stream of `count` codes takes."""
    return math.ceil(count * bits / 32)


def padded_words_for(count: int, bits: int) -> int:
    """Return the words that `count` codes take where none is cut in two: compressed-tensors before 0.13, GPTQ."""
    return math.ceil(count / (32 // bits))


def unpack(words: mx.array, bits: int, count: int, *, is_padded: bool = False) -> mx.array:
    """Return the codes of a bit stream, [n, count] uint8.

    Args:
        words: uint32 or int32 [n, W].
        is_padded: no code is cut in two; the high bits of a word are empty where `bits` does not divide 32.
    """
    words = words.view(mx.uint32)
    at = mx.arange(count, dtype=mx.uint32)
    if is_padded or 32 % bits == 0:
        per_word = 32 // bits
        return ((words[:, at // per_word] >> (at % per_word * bits)) & ((1 << bits) - 1)).astype(mx.uint8)
    first, shift = at * bits // 32, at * bits % 32
    codes = words[:, first] >> shift
    # Shifted twice, since a shift by 32 is not defined.
    above = (words[:, mx.minimum(first + 1, words.shape[1] - 1)] << (31 - shift)) << 1
    return ((codes | above) & ((1 << bits) - 1)).astype(mx.uint8)


def pack(codes: mx.array, bits: int) -> mx.array:
    """Return codes as MLX packs them, uint32 [n, I * bits / 32].

    Args:
        codes: uint8 [n, I], each below 2^bits; I is a multiple of 32.
    """
    rows, count = codes.shape
    if bits == 8:
        return mx.contiguous(codes).view(mx.uint32)
    if 32 % bits == 0:
        shifts = mx.arange(32 // bits, dtype=mx.uint32) * bits
        return (
            (codes.reshape(rows, -1, 32 // bits).astype(mx.uint32) << shifts).sum(axis=-1).astype(mx.uint32)
        )
    groups = codes.reshape(rows, count // 32, 32).astype(mx.uint32)
    words = []
    for word in range(bits):
        value = mx.zeros(groups.shape[:2], mx.uint32)
        for at in range(32):
            shift = at * bits - word * 32
            if -bits < shift < 32:
                value = value | (groups[..., at] << shift if shift >= 0 else groups[..., at] >> -shift)
        words.append(value)
    return mx.stack(words, axis=-1).reshape(rows, -1)
