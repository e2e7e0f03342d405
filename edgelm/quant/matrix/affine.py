"""The affine format by hand: codes, one scale and one bias per group of a row, and MLX's bit packing.

w ≈ code · scale + bias. MLX lets scale and bias be free, so whatever chooses them can be stored exactly:
choose both, round them to the type they are stored in, and only then choose codes. Knows nothing of how
they are chosen (`search.py`, `gptq.py`). Shapes: R rows, C columns, G groups of a row, g weights of a group.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx


@dataclass(frozen=True)
class Grid:
    """Where the codes of a matrix may lie; `scales` and `biases` are float32, of values that `dtype` holds."""

    bits: int
    group_size: int
    dtype: mx.Dtype
    """What scales and biases are stored in."""
    scales: mx.array  # [R, G]
    biases: mx.array  # [R, G]

    def encode(self, weight: mx.array) -> mx.array:
        """Return the nearest codes of `weight` [R, C], as float32 [R, C]."""
        grouped = weight.reshape(*self.scales.shape, self.group_size)
        codes = nearest(grouped, self.scales[..., None], self.biases[..., None], 2**self.bits - 1)
        return codes.reshape(weight.shape)

    def decode(self, codes: mx.array) -> mx.array:
        """Return the weights [R, C] in float32 that `codes` [R, C] stand for."""
        grouped = codes.reshape(*self.scales.shape, self.group_size)
        return (grouped * self.scales[..., None] + self.biases[..., None]).reshape(codes.shape)

    def rows(self, start: int, stop: int) -> Grid:
        """Return the grid of the rows from `start` to `stop`."""
        return Grid(self.bits, self.group_size, self.dtype, self.scales[start:stop], self.biases[start:stop])

    def where(self, chosen: mx.array, other: Grid) -> Grid:
        """Take this grid in the rows where `chosen` [R, 1] is true, `other` elsewhere."""
        return Grid(
            self.bits,
            self.group_size,
            self.dtype,
            mx.where(chosen, self.scales, other.scales),
            mx.where(chosen, self.biases, other.biases),
        )

    def packed(self, codes: mx.array) -> dict[str, mx.array]:
        """Pack codes into `weight`, `scales` and `biases` as a quantized MLX layer holds them."""
        return {
            "weight": pack(codes.astype(mx.uint32), self.bits),
            "scales": self.scales.astype(self.dtype),
            "biases": self.biases.astype(self.dtype),
        }


def nearest(weight: mx.array, scale: mx.array, bias: mx.array, max_code: int | mx.array) -> mx.array:
    """Return the code in 0 … `max_code` whose value lies nearest to `weight`, as a float."""
    return mx.clip(mx.round((weight - bias) / scale), 0, max_code)


def stored(values: mx.array, dtype: mx.Dtype) -> mx.array:
    """Take `values` through `dtype` and back to float32."""
    return values.astype(dtype).astype(mx.float32)


def plain_grid(weight: mx.array, bits: int, group_size: int, dtype: mx.Dtype) -> Grid:
    """Return the grid that `mx.quantize` gives `weight` [R, C] in `dtype`: round-to-nearest's."""
    _, scales, biases = mx.quantize(weight.astype(dtype), group_size, bits)
    return Grid(bits, group_size, dtype, scales.astype(mx.float32), biases.astype(mx.float32))


def pack(codes: mx.array, bits: int) -> mx.array:
    """Pack codes [..., C] of uint32 as MLX does: a little-endian stream of bits in words of 32.

    Thirty-two codes fill exactly `bits` words, whatever the width.
    """
    blocks = codes.reshape(*codes.shape[:-1], -1, 32)
    words = [_word(blocks, word, bits) for word in range(bits)]
    return mx.stack(words, axis=-1).reshape(*codes.shape[:-1], -1)


def unpack(words: mx.array, bits: int) -> mx.array:
    """Return the codes [..., C] that `pack` made `words` of."""
    if 32 % bits:
        raise ValueError(f"codes of {bits} bits do not fill words of 32")
    shifts = mx.arange(0, 32, bits, dtype=mx.uint32)
    codes = (words[..., None] >> shifts) & mx.array((1 << bits) - 1, mx.uint32)
    return codes.reshape(*words.shape[:-1], -1)


def _word(blocks: mx.array, word: int, bits: int) -> mx.array:
    """Word `word` of each block: the codes that begin in it, and the rest of one that began before."""
    packed = mx.zeros(blocks.shape[:-1], dtype=mx.uint32)
    for index in range(32):
        offset = index * bits - 32 * word
        if 0 <= offset < 32:
            packed = packed | (blocks[..., index] << offset)
        elif -bits < offset < 0:
            packed = packed | (blocks[..., index] >> -offset)
    return packed
