"""Following the rows of a checkpoint's matrices through `sanitize`, by labels, while nobody has read them.

Most of what `sanitize` computes moves rows and no more: experts are stacked, gate and up are told apart, heads are reordered.
Such a matrix can be put together when it is written, from its sources one part at a time, and each part of a packed
matrix (codes, scales, biases) moves as its rows do. So a packed module goes through any `sanitize` that knows nothing
of packings, and weights that are unpacked on reading need no copy on the disk.

Every matrix is stood for by three columns: which matrix, which row, and a mark. What comes out with the mark in
place was made of whole rows; anything multiplied, added or turned was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from edgelm_converters.sources.checkpoint import LazyTensor

_MARK = -7.0
_MAX_EXACT = 1 << 24
"""Integers up to here are exact in float32."""


@dataclass(frozen=True)
class RowSources:
    """A matrix of the network, [..., O, I], as rows of the checkpoint's."""

    sources: tuple[str, ...]
    """Names of tensors, whose rows are numbered through in this order."""
    index: npt.NDArray[np.int64] | None
    """The row that each row is; None if all of them in their order."""
    shape: tuple[int, ...]
    """[..., O]."""

    def assembled(self, parts: list[LazyTensor]) -> LazyTensor:
        """Put the matrix together of one part of each source, [..., O, K] each, when it is read."""
        first = parts[0]
        shape = (*self.shape, first.shape[-1])
        if len(parts) == 1 and self.index is None:
            if first.shape == shape:
                return first

            def read() -> mx.array:
                return first.read().reshape(shape)

            return LazyTensor(shape, first.dtype, read, first.stored_as, is_lazy_array=first.is_lazy_array)

        def put_together() -> mx.array:
            rows = [part.read().reshape(-1, shape[-1]) for part in parts]
            table = mx.concatenate(rows) if len(rows) > 1 else rows[0]
            rows.clear()
            chosen = table if self.index is None else table[mx.array(self.index)]
            return chosen.reshape(shape)

        return LazyTensor(shape, first.dtype, put_together, first.stored_as)


def follow_rows(
    rearrange: Callable[[dict[str, mx.array]], Mapping[str, mx.array]],
    tensors: Mapping[str, LazyTensor],
    wanted: set[str],
) -> dict[str, RowSources]:
    """Return what of `rearrange` is rows of `tensors`, and of at least one of the `wanted` ones, by name.

    Args:
        rearrange: the `sanitize` of a network to try on, or another such function.
        tensors: all of the checkpoint's, unpacked.
    """
    names = [name for name, tensor in tensors.items() if len(tensor.shape) > 1 and _rows(tensor) < _MAX_EXACT]
    labels = {name: _label(at, tensors[name]) for at, name in enumerate(names)}
    others = {
        name: mx.zeros(tensor.shape, tensor.dtype) for name, tensor in tensors.items() if name not in labels
    }
    try:
        outputs = dict(
            rearrange({name: labels[name] if name in labels else others[name] for name in tensors})
        )
    except (ValueError, RuntimeError, IndexError):
        return {}  # shapes matter to it: it is given the tensors themselves
    wanted_at = {at for at, name in enumerate(names) if name in wanted}
    found: dict[str, RowSources] = {}
    # Labels are evaluated when an output is read: nothing else may hold them then, or those of all experts add up.
    labels.clear()
    for name in list(outputs):
        array = outputs.pop(name)
        rows = (
            _read_labels(array, names, wanted_at, tensors)
            if array.ndim > 1 and array.shape[-1] == 3
            else None
        )
        if rows is not None:
            found[name] = rows
    return found


def _rows(tensor: LazyTensor) -> int:
    return math.prod(tensor.shape[:-1])


def _label(at: int, tensor: LazyTensor) -> mx.array:
    rows = mx.arange(_rows(tensor), dtype=mx.float32)
    columns = mx.stack([mx.full(rows.shape, float(at)), rows, mx.full(rows.shape, _MARK)], axis=-1)
    return columns.reshape(*tensor.shape[:-1], 3)


def _read_labels(
    array: mx.array, names: list[str], wanted: set[int], tensors: Mapping[str, LazyTensor]
) -> RowSources | None:
    labels = np.array(array.astype(mx.float32)).reshape(-1, 3)
    at, row, mark = labels.T
    if not len(at) or (mark != _MARK).any() or (at != np.floor(at)).any() or (row != np.floor(row)).any():
        return None
    if at.min() < 0 or at.max() >= len(names) or row.min() < 0:
        return None
    order, first = np.unique(at.astype(np.int64), return_index=True)
    order = order[np.argsort(first)]
    if not wanted.intersection(order.tolist()):
        return None
    sources = tuple(names[each] for each in order)
    counts = np.array([_rows(tensors[name]) for name in sources])
    starts = np.zeros(len(names), np.int64)
    starts[order] = np.concatenate([[0], np.cumsum(counts)[:-1]])
    if len({tensors[name].shape[-1] for name in sources}) > 1:
        return None
    index = starts[at.astype(np.int64)] + row.astype(np.int64)
    if index.max() >= counts.sum():
        return None
    is_whole = len(index) == counts.sum() and bool((index == np.arange(len(index))).all())
    return RowSources(sources, None if is_whole else index, tuple(array.shape[:-1]))
