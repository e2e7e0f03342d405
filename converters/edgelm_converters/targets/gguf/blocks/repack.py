"""Groups of MLX's formats → ggml's blocks: codes move bit for bit, and nothing is rounded but scales that float16 cannot hold.

An affine group of 64 or 128 is two or four blocks of 32 with the same scale. Layouts: ggml-common.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm_converters.sources.gguf.types.kinds import Kind
from edgelm_converters.targets.gguf.blocks.codes import fifth_bits, float16_bytes, halves, unpack_codes

Floats = npt.NDArray[np.float32]
Array = npt.NDArray[Any]
BLOCK = 32


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows of a packed layer.

    `words` [R, W * bits / 32]; `scales` and `biases` [R, W / group], float32 for affine groups, else the scales' own bytes.
    """

    words: npt.NDArray[np.uint32]
    scales: Array
    biases: Floats | None
    settings: Mapping[str, Any]

    @property
    def bits(self) -> int:
        """Return the width of a code."""
        return int(self.settings["bits"])

    @property
    def group(self) -> int:
        """Return how many weights share a scale."""
        return int(self.settings["group_size"])

    @property
    def mode(self) -> str:
        """Return MLX's name of the format."""
        return str(self.settings.get("mode", "affine"))

    def take(self, order: npt.NDArray[np.intp]) -> PackedRows:
        """Return these rows in an order."""
        biases = None if self.biases is None else self.biases[order]
        return PackedRows(self.words[order], self.scales[order], biases, self.settings)


CENTRED = {4: Kind.Q4_0, 5: Kind.Q5_0, 6: Kind.Q8_0, 8: Kind.Q8_0}
"""Width of a code → the type whose codes stand for themselves less half of their range."""
FREE = {1: Kind.Q4_1, 2: Kind.Q4_1, 3: Kind.Q4_1, 4: Kind.Q4_1, 5: Kind.Q5_1}
"""Width of a code → the smallest type with a scale and a minimum that has room for it."""


def block_form(
    settings: Mapping[str, Any], width: int, scales: Floats | None, biases: Floats | None
) -> Kind | None:
    """Return the type that holds a packed layer's codes as they are, or None.

    Args:
        settings: of the layer.
        width: of its rows.
        scales: with `biases` the whole layer's, where it is affine.
    """
    mode, bits = settings.get("mode", "affine"), int(settings["bits"])
    if mode == "mxfp4":
        return Kind.MXFP4
    if mode == "nvfp4":
        return Kind.NVFP4 if width % 64 == 0 else None
    if mode != "affine" or scales is None or biases is None or int(settings["group_size"]) % BLOCK:
        return None
    if bits in CENTRED and np.array_equal(biases, scales * np.float32(-(1 << (bits - 1)))):
        return CENTRED[bits]
    return FREE.get(bits)


def repacked(rows: PackedRows, kind: Kind) -> npt.NDArray[np.uint8]:
    """Return rows as blocks of `kind`, which `block_form` gave for their layer, [R, row bytes]."""
    count = rows.words.shape[0]
    codes = unpack_codes(rows.words, rows.bits)
    if kind == Kind.MXFP4:
        return np.concatenate([rows.scales.reshape(-1, 1), halves(codes.reshape(-1, BLOCK))], axis=1).reshape(
            count, -1
        )
    if kind == Kind.NVFP4:
        packed = halves(codes.reshape(-1, 16)).reshape(-1, 32)
        return np.concatenate([rows.scales.reshape(-1, 4), packed], axis=1).reshape(count, -1)
    assert rows.biases is not None
    repeats = rows.group // BLOCK
    scales = np.repeat(rows.scales.reshape(-1), repeats)[:, None]
    biases = np.repeat(rows.biases.reshape(-1), repeats)[:, None]
    return affine_blocks(kind, codes.reshape(-1, BLOCK), scales, biases, rows.bits).reshape(count, -1)


def affine_blocks(
    kind: Kind, codes: npt.NDArray[np.uint8], scales: Floats, biases: Floats, bits: int
) -> npt.NDArray[np.uint8]:
    """Return blocks of 32 codes.

    Args:
        codes: [N, 32].
        scales: [N, 1], as `biases`, which a centred type does not store.
        bits: of the codes: what a centred type takes off them follows from it.
    """
    if kind == Kind.Q8_0:
        centred = (codes.astype(np.int16) - (1 << (bits - 1))).astype(np.int8).view(np.uint8)
        return np.concatenate([float16_bytes(scales), centred], axis=1)
    both = float16_bytes(np.concatenate([scales, biases], axis=1))
    parts = {
        Kind.Q4_0: lambda: [both[:, :2], halves(codes)],
        Kind.Q4_1: lambda: [both, halves(codes)],
        Kind.Q5_0: lambda: [both[:, :2], fifth_bits(codes), halves(codes)],
        Kind.Q5_1: lambda: [both, fifth_bits(codes), halves(codes)],
    }
    return np.concatenate(parts[kind](), axis=1)


def rounding_error(rows: PackedRows) -> tuple[float, float]:
    """Return the squared error of float16 scales and biases, and the squared values, summed; (0, …) where they are exact.

    Sums are over weights: E[q²] of a group's codes is taken as they are.
    """
    if rows.mode != "affine" or rows.biases is None:
        return 0.0, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        lost_scale = rows.scales.astype(np.float16).astype(np.float32) - rows.scales
        lost_bias = rows.biases.astype(np.float16).astype(np.float32) - rows.biases
    if not lost_scale.any() and not lost_bias.any():
        return 0.0, 1.0
    codes = unpack_codes(rows.words, rows.bits).reshape(*rows.scales.shape, -1).astype(np.float32)
    error = codes * lost_scale[..., None] + lost_bias[..., None]
    values = codes * rows.scales[..., None] + rows.biases[..., None]
    return float(np.square(error, dtype=np.float64).sum()), float(np.square(values, dtype=np.float64).sum())
