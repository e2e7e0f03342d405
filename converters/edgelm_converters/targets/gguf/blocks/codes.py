"""Codes out of MLX's bit streams, and into ggml's halves of bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def unpack_codes(words: npt.NDArray[np.uint32], bits: int) -> Bytes:
    """Unpack MLX's little-endian bit stream, one code a byte: what `sources.gguf.types.blocks.pack_codes` packed.

    Args:
        words: [R, W * bits / 32].

    Returns:
        [R, W].
    """
    rows = words.shape[0]
    raw = np.ascontiguousarray(words).view(np.uint8)
    if bits == 8:
        return raw
    if bits == 4:
        return np.stack([raw & 0x0F, raw >> 4], axis=-1).reshape(rows, -1)
    # Eight codes in a 64-bit word, drawn apart in three steps: fours, pairs, single ones.
    stream = raw.reshape(-1, bits)
    spread = np.zeros((len(stream), 8), np.uint8)
    spread[:, :bits] = stream
    lanes = spread.view("<u8").reshape(-1)
    for step in (2, 1, 0):
        lane, used = 8 << step, bits << step
        low = np.uint64(sum(((1 << used) - 1) << start for start in range(0, 64, 2 * lane)))
        lanes = (lanes & low) | ((lanes & (low << np.uint64(used))) << np.uint64(lane - used))
    return lanes.view(np.uint8).reshape(rows, -1)


def halves(codes: Bytes) -> Bytes:
    """Pack codes of four bits, [N, 2h], as ggml has them: the first half in the low halves of bytes, [N, h]."""
    low, high = np.split(codes & np.uint8(0x0F), 2, axis=-1)
    joined: Bytes = low | (high << np.uint8(4))
    return joined


def fifth_bits(codes: Bytes) -> Bytes:
    """Pack the fifth bits of 32 codes a row into four bytes, each in its place."""
    return np.packbits((codes >> np.uint8(4)) & np.uint8(1), axis=-1, bitorder="little")


def float16_bytes(values: npt.NDArray[np.float32]) -> Bytes:
    """Return values [N, k] as bytes of float16, [N, 2k]."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values.astype("<f2")).view(np.uint8).reshape(values.shape[0], -1)
