"""ggml's quantized blocks as groups of MLX's formats: affine ones, w = code · scale + bias, mxfp4 and nvfp4.

Nothing is requantized: codes are moved bit for bit, and an affine group's scale and bias are the ones that
ggml multiplies out, in float32; the caller rounds them once to float16. For the types with a float16
scale per block (all but Q4_K and Q5_K) that rounding changes nothing.
Layouts: ggml-common.h and ggml-quants.c (dequantize_row_*), as in gguf/quants.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm_converters.sources.gguf.types.kinds import Kind

Bytes = npt.NDArray[np.uint8]  # [N, block bytes]
Floats = npt.NDArray[np.float32]  # [N, G]
Groups = tuple[Bytes, Floats, Floats]  # codes [N, G * g], scales [N, G], biases [N, G]
Split = Callable[[Bytes], tuple[npt.NDArray[Any], ...]]
"""Blocks → `Groups`, or codes and the scales' own bytes where the format has no biases."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How blocks of one type become groups: N blocks, G groups of g weights in each."""

    bits: int
    split: Split
    group_size: int = 32
    mode: str = "affine"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a layer of these groups, as `config.json` has them."""
        return {"group_size": self.group_size, "bits": self.bits, "mode": self.mode}

    @property
    def parts(self) -> tuple[str, ...]:
        """What the arrays that `split` gives are called in a layer."""
        return ("weight", "scales", "biases") if self.mode == "affine" else ("weight", "scales")


def _float16(raw: Bytes) -> Floats:
    return np.ascontiguousarray(raw).view(np.float16).astype(np.float32)


def _nibbles(raw: Bytes) -> Bytes:
    """[..., 16] or [..., 32] bytes → all low nibbles, then all high ones."""
    return np.concatenate([raw & 0x0F, raw >> 4], axis=-1)


def _fifth_bits(raw: Bytes) -> Bytes:
    """Four bytes → the fifth bit of each of 32 codes, in its place."""
    return np.unpackbits(raw, axis=-1, bitorder="little") << np.uint8(4)


def _centred(bits: int, codes: Bytes, scales: Floats) -> Groups:
    """Codes stored with an offset of 2^(bits-1): w = (code - offset) · scale."""
    return codes, scales, scales * np.float32(-(1 << (bits - 1)))


def _q4_0(blocks: Bytes) -> Groups:
    return _centred(4, _nibbles(blocks[:, 2:]), _float16(blocks[:, :2]))


def _q4_1(blocks: Bytes) -> Groups:
    return _nibbles(blocks[:, 4:]), _float16(blocks[:, :2]), _float16(blocks[:, 2:4])


def _q5_0(blocks: Bytes) -> Groups:
    codes = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6])
    return _centred(5, codes, _float16(blocks[:, :2]))


def _q5_1(blocks: Bytes) -> Groups:
    codes = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8])
    return codes, _float16(blocks[:, :2]), _float16(blocks[:, 2:4])


def _q8_0(blocks: Bytes) -> Groups:
    # int8 q → q + 128, which flips the sign bit.
    return _centred(8, blocks[:, 2:] ^ np.uint8(0x80), _float16(blocks[:, :2]))


def _k_scales(blocks: Bytes) -> tuple[Floats, Floats]:
    """The eight six-bit scales and minima of Q4_K and Q5_K, times the block's own."""
    packed = blocks[:, 4:16].reshape(-1, 3, 4)
    low, minimum, both = packed[:, 0], packed[:, 1], packed[:, 2]
    scales = np.concatenate([low & 0x3F, (both & 0x0F) | ((low >> 2) & 0x30)], axis=-1)
    minima = np.concatenate([minimum & 0x3F, (both >> 4) | ((minimum >> 2) & 0x30)], axis=-1)
    d, dmin = _float16(blocks[:, 0:2]), _float16(blocks[:, 2:4])
    return d * scales.astype(np.float32), -(dmin * minima.astype(np.float32))


def _k_nibbles(raw: Bytes) -> Bytes:
    """128 bytes → 256 codes: each run of 32 bytes holds two groups."""
    return _nibbles(raw.reshape(-1, 4, 32)).reshape(-1, 256)


def _q4_k(blocks: Bytes) -> Groups:
    return _k_nibbles(blocks[:, 16:]), *_k_scales(blocks)


def _q5_k(blocks: Bytes) -> Groups:
    # Bit g of byte i is the fifth bit of code i in group g.
    groups = np.arange(8, dtype=np.uint8)[:, None]
    high = ((blocks[:, None, 16:48] >> groups) & np.uint8(1)) << np.uint8(4)
    return _k_nibbles(blocks[:, 48:]) | high.reshape(-1, 256), *_k_scales(blocks)


def _tq1_0(blocks: Bytes) -> Groups:
    """Five ternary digits a byte (the last four bytes hold four), the first in the byte's highest part."""
    runs = ((blocks[:, :32], 5), (blocks[:, 32:48], 5), (blocks[:, 48:52], 4))
    digits = [run * np.uint8(3**place) for run, places in runs for place in range(places)]  # modulo 256
    codes = ((np.concatenate(digits, axis=-1).astype(np.uint16) * 3) >> 8).astype(np.uint8)
    return _ternary(codes, blocks[:, 52:54])


def _tq2_0(blocks: Bytes) -> Groups:
    return _ternary(_crumbs(blocks[:, :64].reshape(-1, 2, 1, 32)), blocks[:, 64:66])


def _q2_0(blocks: Bytes) -> Groups:
    # Four codes a byte, side by side.
    return _ternary(_crumbs(blocks[:, 2:].reshape(-1, 16, 1), axis=-1), blocks[:, :2])


def _crumbs(raw: Bytes, axis: int = -2) -> Bytes:
    """The four codes of two bits of every byte, lowest first, along `axis`, which has length one."""
    parts = [(raw >> np.uint8(shift)) & np.uint8(3) for shift in (0, 2, 4, 6)]
    return np.concatenate(parts, axis=axis).reshape(raw.shape[0], -1)


def _ternary(codes: Bytes, halves: Bytes) -> Groups:
    """w = (code - 1) · scale; a block of 256 is two groups."""
    scales = np.repeat(_float16(halves), max(1, codes.shape[1] // 128), axis=1)
    return codes, scales, -scales


def _q1_0(blocks: Bytes) -> Groups:
    # A bit is a sign: w = (2 · bit - 1) · scale.
    codes, scales = np.unpackbits(blocks[:, 2:], axis=-1, bitorder="little"), _float16(blocks[:, :2])
    return codes, scales * np.float32(2), -scales


def _mxfp4(blocks: Bytes) -> tuple[Bytes, Bytes]:
    # ggml doubles what the codes stand for and halves the scale: codes and scale are the same bits as MLX's.
    return _nibbles(blocks[:, 1:]), blocks[:, :1]


def _nvfp4(blocks: Bytes) -> tuple[Bytes, Bytes]:
    # ggml reads 0x7F as zero, and no sign: what a sign hides stays 0x7F here, which is no number, and is refused.
    scales = np.where(blocks[:, :4] == 0x7F, np.uint8(0), blocks[:, :4] & np.uint8(0x7F))
    return _nibbles(blocks[:, 4:].reshape(-1, 4, 8)).reshape(-1, 64), scales


PACKINGS = {
    Kind.Q4_0: Packing(4, _q4_0),
    Kind.Q4_1: Packing(4, _q4_1),
    Kind.Q5_0: Packing(5, _q5_0),
    Kind.Q5_1: Packing(5, _q5_1),
    Kind.Q8_0: Packing(8, _q8_0),
    Kind.Q4_K: Packing(4, _q4_k),
    Kind.Q5_K: Packing(5, _q5_k),
    Kind.TQ1_0: Packing(2, _tq1_0, group_size=128),
    Kind.TQ2_0: Packing(2, _tq2_0, group_size=128),
    Kind.Q1_0: Packing(1, _q1_0, group_size=128),
    Kind.Q2_0: Packing(2, _q2_0, group_size=64),
    Kind.MXFP4: Packing(4, _mxfp4, group_size=32, mode="mxfp4"),
    Kind.NVFP4: Packing(4, _nvfp4, group_size=16, mode="nvfp4"),
}


def pack_codes(codes: Bytes, bits: int) -> npt.NDArray[np.uint32]:
    """Pack one code a byte into MLX's little-endian bit stream.

    Args:
        codes: [R, W], each below 2^bits; W a multiple of 32.

    Returns:
        [R, W * bits / 32].
    """
    rows = codes.shape[0]
    if bits == 8:
        return np.ascontiguousarray(codes).view(np.uint32)
    # Eight codes in a 64-bit word, drawn together in three steps: pairs, fours, eights.
    words = np.ascontiguousarray(codes).view("<u8")
    for step in range(3):
        lane, used = 8 << step, bits << step
        low = np.uint64(sum(((1 << used) - 1) << start for start in range(0, 64, 2 * lane)))
        words = (words & low) | ((words >> np.uint64(lane - used)) & (low << np.uint64(used)))
    stream = words.view(np.uint8).reshape(-1, 8)[:, :bits]
    return np.ascontiguousarray(stream.reshape(rows, -1)).view(np.uint32)
