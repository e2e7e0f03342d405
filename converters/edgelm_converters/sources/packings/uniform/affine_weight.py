"""One weight of integer codes, scales and zero points, whatever tool stored it, as MLX's affine triple or by its values.

w = code * scale + bias with bias = -scale * zero. Where groups run along the inputs in multiples of 32, MLX has the form: the
codes are moved bit for bit, scales stay as they are stored, and a bias is rounded once to their dtype (not at all where the
zero is a power of two, as in every symmetric format). Elsewhere (an order of activations that mixes groups, groups along the
outputs, biases that the dtype would round by more than a sixteenth of a step) the values are those that the tool
itself computes with. Shapes: R rows (outputs), C columns (inputs), G groups of a row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from edgelm.errors import FormatError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.integers.bit_stream import pack
from edgelm_converters.sources.packings.packed_format import Presented
from edgelm_converters.sources.packings.uniform.groups import (
    affine_settings,
    group_of,
    requantized_settings,
    runs,
    spread,
)
from edgelm_converters.sources.packings.uniform.streams import STORED_BITS, in_slices


class StoredGrid(NamedTuple):
    """Where the codes of a weight lie, in float32 [R, G]."""

    scales: mx.array
    biases: mx.array
    zeros: mx.array | None = None
    """Zero points, where the tool computes (code - zero) * scale in the dtype of the scales, and rounds there."""


PRECISION = {mx.float32: 25, mx.float16: 12, mx.bfloat16: 9}
"""A value in this dtype is off by at most 2 to the power of minus this, times itself."""
LEAST_BITS = 4
"""A bias, up to 2^bits steps, is rounded by 2^-4 steps at most."""
SMALLEST = {mx.float32: 2.0**-126, mx.float16: 2.0**-14, mx.bfloat16: 2.0**-126}
"""Below this a dtype loses precision."""


def grid_of(scales: mx.array, zeros: mx.array | float) -> StoredGrid:
    """Return the grid of scales and zero points [R, G], whose biases float32 holds exactly for zeros of a byte.

    Args:
        scales: in half precision, or float32.
        zeros: of the same shape, or one for all.
    """
    scales = scales.astype(mx.float32)
    zeros = mx.broadcast_to(mx.array(zeros, mx.float32), scales.shape)
    return StoredGrid(scales, scales * -zeros, zeros)


@dataclass(frozen=True)
class AffineWeight:
    """A weight that has not been read; what it takes from a file is read when it is asked for."""

    rows: int
    columns: int
    bits: int
    """The width of a code, 1 to 8."""
    stored_as: str
    """As the receipt says it: "GPTQ 4-bit"."""
    dtype: mx.Dtype
    """What scales are stored in, and the triple's scales and biases with them."""
    codes: Callable[[int, int], mx.array]
    """(first row, last row + 1) → their codes, uint8 [r, C]."""
    grid: Callable[[], StoredGrid]
    group_size: int = 0
    """Columns that share a scale; 0 where `order` says it."""
    order: npt.NDArray[np.integer] | None = None
    """[C], the group of every column, where that is not its place divided by the group's size."""
    row_groups: npt.NDArray[np.integer] | None = None
    """[R], where groups run along the outputs: the row of the grid, which is [G, C] then, that each row takes."""
    packed: Callable[[], mx.array] | None = None
    """The codes as MLX packs them, where that is cheaper than to take them apart."""
    is_narrowed: bool = False
    """Scales are stored wider than `dtype`."""

    def kept_group(self) -> tuple[int, npt.NDArray[np.integer]] | None:
        """Return the group that MLX holds the codes in, and which of the scales each of them has; None if it cannot."""
        if self.row_groups is not None or not self._is_held():
            return None
        if self.order is not None:
            return runs(self.order)
        size = group_of(self.columns, self.group_size)
        if size is None:
            return None
        return size, np.arange(self.columns // size) * size // self.group_size

    def _is_held(self) -> bool:
        """Whether `dtype` holds scales and biases so well that no weight moves by more than a sixteenth of a step."""
        if self.bits + LEAST_BITS <= PRECISION[self.dtype] and not self.is_narrowed:
            return True
        scales, biases, _ = self.grid()
        if self.is_narrowed and mx.any((mx.abs(scales) < SMALLEST[self.dtype]) & (scales != 0)).item():
            return False
        if self.bits + LEAST_BITS <= PRECISION[self.dtype]:
            return True
        # A zero that is a power of two only moves the exponent of the scale.
        rounded = scales.astype(self.dtype).astype(mx.float32)
        zeros = biases / mx.where(scales == 0, 1, scales)
        return bool(mx.array_equal(biases.astype(self.dtype).astype(mx.float32), zeros * rounded).item())

    def present(self, path: str, result: Presented, *, is_transposed: bool = False) -> None:
        """Put the module at `path` into `result`: kept where MLX has the form, else by its values.

        Args:
            is_transposed: the architecture publishes this weight as [C, R], so only its values have a place.
        """
        kept = None if is_transposed else self.kept_group()
        if kept is not None:
            self._keep(path, result, *kept)
            return
        shape = (self.columns, self.rows) if is_transposed else (self.rows, self.columns)
        settings = requantized_settings(self.bits, self.columns)
        values = functools.partial(self.values, path)
        read = (lambda: mx.contiguous(values().T)) if is_transposed else values
        result.unpack(f"{path}.weight", shape, read, self.stored_as, settings)

    def _keep(self, path: str, result: Presented, size: int, which: npt.NDArray[np.integer]) -> None:
        bits = STORED_BITS[self.bits]
        groups = (self.rows, self.columns // size)

        def lazy(shape: tuple[int, ...], dtype: mx.Dtype, read: Callable[[], mx.array]) -> LazyTensor:
            return LazyTensor(shape, dtype, read, self.stored_as)

        result.keep(
            path,
            lazy((self.rows, self.columns * bits // 32), mx.uint32, self._packed),
            lazy(groups, self.dtype, lambda: spread(self._finite(path).scales, which).astype(self.dtype)),
            lazy(groups, mx.float32, lambda: spread(self._finite(path).biases, which)),
            affine_settings(bits, size),
        )

    def _packed(self) -> mx.array:
        if self.packed is not None:
            return self.packed()
        bits = STORED_BITS[self.bits]
        return in_slices(self.rows, self.columns, lambda a, b: pack(self.codes(a, b), bits))

    def _finite(self, path: str) -> StoredGrid:
        """The grid, refused if it holds what is no number."""
        grid = self.grid()
        if not (mx.isfinite(grid.scales).all() & mx.isfinite(grid.biases).all()).item():
            raise FormatError(
                f"{path} is packed ({self.stored_as}) with scales or zero points that are not finite",
                hint="the file is damaged; download it again",
            )
        return grid

    def values(self, path: str) -> mx.array:
        """Return the weights [R, C] as the tool itself computes them, in float32.

        Raises:
            FormatError: scales or zero points of the module at `path` are not finite.
        """
        grid = self._finite(path)
        order = self._order()

        def spread_rows(values: mx.array, start: int, stop: int) -> mx.array:
            if self.row_groups is not None:
                return values[mx.array(self.row_groups[start:stop].astype(np.int32))]
            # Whole rows of groups are gathered, which is far faster than single scales.
            return mx.contiguous(values[start:stop].T)[order].T

        def make(start: int, stop: int) -> mx.array:
            codes, scale = self.codes(start, stop), spread_rows(grid.scales, start, stop)
            if grid.zeros is None:
                return codes.astype(mx.float32) * scale + spread_rows(grid.biases, start, stop)
            zeros = spread_rows(grid.zeros, start, stop).astype(self.dtype)
            product = (codes.astype(self.dtype) - zeros) * scale.astype(self.dtype)
            return product.astype(mx.float32)

        return in_slices(self.rows, self.columns, make)

    def _order(self) -> mx.array:
        """The group of every column."""
        if self.order is not None:
            return mx.array(self.order.astype(np.int32))
        return mx.arange(self.columns) // max(1, self.group_size)
