"""Unsigned codes under scales and zero points, w = (code - zero) * scale, as MLX holds them or by value.

MLX computes code * scale + bias with bias = -zero * scale. For symmetric codes the zero point is a power of two, and the
bias exact in the dtype of the scales. Zero points of up to 4 bits under float16 scales are rounded once, by 2^-12, where the
codes are kept (and are exact, in float32, where they are not); all others would be rounded by more than codes can bear,
so that their scales and biases are kept in float32, which holds them exactly.

Shapes: E experts (or none), O rows, I columns, G groups in a row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from edgelm.quant.scheme import AFFINE_BITS, AFFINE_GROUPS
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.float8.scale_grid import ScaleGrid
from edgelm_converters.sources.packings.float8.values import by_rows
from edgelm_converters.sources.packings.packed_format import (
    LOSSLESS,
    LOSSLESS_FOR_4_BITS,
    SCALE_DTYPES,
    Presented,
    lazily,
)

NARROW_BITS = 4
"""Up to this width a zero point times a float16 scale may be rounded to float16."""


@dataclass(frozen=True)
class IntegerModule:
    """One matrix of codes; nothing is read before `present`ed tensors are."""

    path: str
    """The module's path."""
    shape: tuple[int, ...]
    """[..., O, I], unpacked."""
    bits: int
    words: LazyTensor | None
    """The codes as MLX packs them, uint32 [..., O, I * bits / 32]; None if the stored form is another."""
    codes: Callable[[], mx.array]
    """Reads the codes, uint8 [rows, I] with all experts' rows."""
    scales: LazyTensor
    grid: ScaleGrid
    zeros: LazyTensor | None
    """Zero points among unsigned codes, integers or floats of the shape of the scales; None for 2^(bits - 1)."""
    where: str
    stored_as: str
    columns: LazyTensor | None = None
    """The group of every column, [I] integers, where groups are not runs of columns."""

    @property
    def group_size(self) -> int | None:
        """Return the group in which MLX holds the codes as they are; None if it cannot."""
        width = self.grid.columns if self.grid.grid[1] == 1 else self.grid.block[1]
        if self.bits not in AFFINE_BITS or self.columns is not None or self.scales.dtype not in SCALE_DTYPES:
            return None
        if len(self.shape) > 2 and self.grid.is_shared:
            return None
        return next(
            (size for size in AFFINE_GROUPS if width % size == 0 and self.grid.columns % size == 0), None
        )

    @property
    def scale_dtype(self) -> mx.Dtype:
        """Return the dtype in which MLX holds scales and biases; see the module."""
        is_close = self.scales.dtype == mx.float16 and self.bits <= NARROW_BITS
        return self.scales.dtype if self.zeros is None or is_close else mx.float32

    def present(self, result: Presented) -> None:
        """Put the module into `result`: kept where MLX has the form, else unpacked."""
        group = self.group_size
        if group is None or self.words is None:
            requantize = LOSSLESS_FOR_4_BITS if self.bits <= NARROW_BITS else LOSSLESS
            result.unpack(f"{self.path}.weight", self.shape, self._values, self.stored_as, requantize)
            return
        shape = (*self.shape[:-1], self.shape[-1] // group)
        scales = lazily(functools.partial(self._grouped, group, shape), shape, self.scale_dtype, self.scales)
        given = (self.scales,) if self.zeros is None else (self.scales, self.zeros)
        dtype = self.scales.dtype if self.zeros is None else mx.float32
        biases = lazily(functools.partial(self._biases, group, shape), shape, dtype, *given)
        settings = {"group_size": group, "bits": self.bits, "mode": "affine"}
        result.keep(self.path, self.words, scales, biases, settings)

    def _grouped(self, group: int, shape: tuple[int, ...], scales: mx.array) -> mx.array:
        return self._spread(group, shape, scales.astype(self.scale_dtype))

    def _biases(
        self, group: int, shape: tuple[int, ...], scales: mx.array, zeros: mx.array | None = None
    ) -> mx.array:
        if zeros is None:
            return self._spread(group, shape, scales * -(1 << (self.bits - 1)))
        exact = -(zeros.astype(mx.float32).reshape(scales.shape) * scales.astype(mx.float32))
        return self._spread(group, shape, exact)

    def _spread(self, group: int, shape: tuple[int, ...], values: mx.array) -> mx.array:
        return self.grid.groups(values.reshape(-1, self.grid.grid[1]), group).reshape(shape)

    def _values(self) -> mx.array:
        codes = self.codes()
        flat = (-1, self.grid.grid[1])
        scales = self.scales.read().astype(mx.float32).reshape(flat)
        middle = float(1 << (self.bits - 1))
        zeros = None if self.zeros is None else self.zeros.read().astype(mx.float32).reshape(flat)
        order = None if self.columns is None else self.columns.read()

        def spread(table: mx.array, start: int, stop: int) -> mx.array:
            if order is None:
                return self.grid.expanded(table, start, stop)
            rows = mx.arange(start, stop) // self.grid.block[0]
            return table[rows][:, order]

        def part(start: int, stop: int) -> mx.array:
            zero = middle if zeros is None else spread(zeros, start, stop)
            return (codes[start:stop].astype(mx.float32) - zero) * spread(scales, start, stop)

        return by_rows(part, codes.shape[0], self.shape[-1], self.where).reshape(self.shape)
