"""The values of a matrix of small floats, some million at a time: memory holds the result and one slice more."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from edgelm.errors import FormatError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.float8.scale_grid import ScaleGrid

SLICE_VALUES = 1 << 22
"""16 MB of float32."""


def scaled(
    codes: mx.array,
    decode: Callable[[mx.array], mx.array],
    scales: mx.array,
    grid: ScaleGrid,
    where: str,
) -> mx.array:
    """Return `decode(codes) * scales` in float32, [..., O, I].

    Args:
        codes: [..., O, K].
        decode: makes float32 [n, I] of codes [n, K].
        scales: float32, as the grid was found for.
        where: what a message calls the tensor.

    Raises:
        FormatError: a value is not a number, or infinite.
    """
    flat = codes.reshape(-1, codes.shape[-1])
    table = scales.reshape(-1, grid.grid[1])

    def part(start: int, stop: int) -> mx.array:
        return decode(flat[start:stop]) * grid.expanded(table, start, stop)

    values = by_rows(part, flat.shape[0], grid.columns, where)
    return values.reshape(*codes.shape[:-1], grid.columns)


def scaled_rows(
    weight: LazyTensor,
    decode: Callable[[mx.array], mx.array],
    read_scales: Callable[[], mx.array],
    grid: ScaleGrid,
    where: str,
) -> Callable[[int, int], mx.array] | None:
    """Return what gives rows of `scaled` alone; None where the source has to read all of the codes.

    The scales are held from the first rows on until the last are read.
    """
    if weight.read_rows is None or len(weight.shape) != 2:
        return None
    held: list[mx.array] = []

    def rows(start: int, stop: int) -> mx.array:
        assert weight.read_rows is not None
        if not held:
            held.append(read_scales().reshape(-1, grid.grid[1]))
        values = decode(weight.read_rows(start, stop)) * grid.expanded(held[0], start, stop)
        if stop >= grid.rows:
            held.clear()
        return _finite(values, where)

    return rows


def by_rows(part: Callable[[int, int], mx.array], rows: int, columns: int, where: str) -> mx.array:
    """Return the float32 matrix [rows, columns] of which `part(start, stop)` gives the rows.

    Raises:
        FormatError: a value is not a number, or infinite.
    """
    step = max(1, SLICE_VALUES // max(columns, 1))
    if rows <= step:
        return _finite(part(0, rows), where)
    result = mx.zeros((rows, columns), mx.float32)
    for start in range(0, rows, step):
        stop = min(rows, start + step)
        result[start:stop] = _finite(part(start, stop), where)
        # Evaluated here, the update happens in place.
        mx.eval(result)
    return result


def _finite(values: mx.array, where: str) -> mx.array:
    if not mx.all(mx.isfinite(values)).item():
        raise FormatError(f"{where} has values that are not finite", hint="the file is damaged")
    return values
