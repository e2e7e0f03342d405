"""Strides: how the elements of an array lie in its memory, in elements, and which reshapes are views.

`Layout` is a stride for each axis; 0 where an axis repeats the same elements (broadcast).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgelm.tune.plan.trace.graph import Shape

Layout = tuple[int, ...]


def row_major(shape: Shape) -> Layout:
    """Return the strides of an array that was just written."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def is_row_major(shape: Shape, layout: Layout) -> bool:
    """Tell whether elements lie as just written; axes of length 1 do not matter."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(layout), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def is_dense(shape: Shape, layout: Layout) -> bool:
    """Tell whether the distinct elements lie without gaps, in any order of axes."""
    step = 1
    for stride, size in sorted((t, s) for s, t in zip(shape, layout, strict=True) if s != 1 and t != 0):
        if stride != step:
            return False
        step *= size
    return True


def distinct(shape: Shape, layout: Layout) -> int:
    """Count the elements, without repetitions."""
    count = 1
    for size, stride in zip(shape, layout, strict=True):
        count *= size if stride else 1
    return count


def is_matrix(shape: Shape, layout: Layout) -> bool:
    """Tell whether matmul reads the last two axes where they are: rows or columns close together."""
    (rows, columns), (down, right) = shape[-2:], layout[-2:]
    as_rows = right == 1 and (down == columns or rows == 1)
    as_columns = down == 1 and (right == rows or columns == 1)
    return as_rows or as_columns


def broadcast(shape: Shape, layout: Layout, to: Shape) -> Layout:
    """Repeated axes have stride 0."""
    new = len(to) - len(shape)
    kept = (stride if old == size else 0 for old, stride, size in zip(shape, layout, to[new:], strict=True))
    return (0,) * new + tuple(kept)


def with_ones(shape: Shape, layout: Layout, to: Shape) -> Layout:
    """After axes of length 1 were put in or taken out."""
    left = iter([stride for size, stride in zip(shape, layout, strict=True) if size != 1])
    return tuple(next(left) if size != 1 else 1 for size in to)


def reshaped(shape: Shape, layout: Layout, to: Shape) -> Layout | None:
    """Return the strides of a reshape that needs no copy; None if it does."""
    runs = _runs(zip(shape, layout, strict=True))
    strides: list[int] = []
    left, stride = runs.pop() if runs else (1, 1)
    for size in reversed(to):
        if size == 1:
            strides.append(1)
            continue
        if left == 1:
            if not runs:
                return None
            left, stride = runs.pop()
        if left % size:
            return None
        strides.append(stride)
        stride *= size
        left //= size
    return tuple(reversed(strides))


def _runs(axes: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """(length, stride) of neighbouring axes that can be walked as one."""
    runs: list[tuple[int, int]] = []
    for size, stride in axes:
        if size == 1:
            continue
        if runs and runs[-1][1] == size * stride:
            runs[-1] = (runs[-1][0] * size, stride)
        else:
            runs.append((size, stride))
    return runs


def permuted(layout: Layout, axes: Sequence[int]) -> Layout:
    """After a transposition."""
    return tuple(layout[axis] for axis in axes)
