"""Rows of one or several stored tensors in an order: what a tensor of the network is read from.

Rows are bytes here: quantized blocks move whole. Read a slice at a time, in memory bounded by the slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import FormatError
from edgelm_converters.sources.gguf.cursor import truncated
from edgelm_converters.sources.gguf.reader import StoredTensor
from edgelm_converters.sources.gguf.types.kinds import Kind

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.intp]
Values = npt.NDArray[np.float32]
Compute = Callable[[Sequence[Values]], Values]

SLICE_VALUES = 1 << 22
"""16 MB of float32."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Rows of `sources`, which are of one width, put one after another, of which `order` takes some or all.

    A row is one of the last dimension; where tensors of one dimension are reordered or put together, it is one item.
    """

    sources: tuple[StoredTensor, ...]
    rows: int = 0
    """How many rows it has; 0 for all."""
    order: Callable[[], Indices] | None = None
    """Which row each one is; None for all of them as they are stored."""

    @property
    def first(self) -> StoredTensor:
        """The first of the stored tensors, for messages."""
        return self.sources[0]

    @property
    def kinds(self) -> set[Kind]:
        """The types that its rows are stored as."""
        return {source.kind for source in self.sources}

    @property
    def by_item(self) -> bool:
        """Whether its rows are single items of tensors of one dimension."""
        return len(self.first.shape) == 1 and (self.order is not None or len(self.sources) > 1)

    @property
    def row_count(self) -> int:
        """How many rows it has."""
        return self.rows or sum(self._rows_in(source) for source in self.sources)

    def _rows_in(self, stored: StoredTensor) -> int:
        return stored.shape[0] if self.by_item else stored.rows

    def slices(self) -> Iterator[Array]:
        """Yield the bytes of its rows in order, as [R, row bytes], about `SLICE_VALUES` values each.

        Raises:
            FormatError: the file has become shorter, or cannot be read.
        """
        count = self.row_count
        step = max(1, SLICE_VALUES // (1 if self.by_item else self.first.shape[-1]))
        order = self.order() if self.order else None
        for start in range(0, count, step):
            stop = min(start + step, count)
            yield self._read(np.arange(start, stop) if order is None else order[start:stop])

    def _read(self, indices: Indices) -> Array:
        """The rows `indices`: each run of neighbours is one read."""
        places = np.argsort(indices, kind="stable")
        ordered = indices[places]
        starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 2) != 1)
        found: Array | None = None
        for begin, end in zip(starts, [*starts[1:], len(ordered)], strict=True):
            at = begin
            while at < end:
                source, first = self._find(int(ordered[at]))
                take = min(end - at, self._rows_in(source) - first)
                raw = self._read_rows(source, first, take)
                if take == len(indices):
                    return raw[np.argsort(places)] if not np.array_equal(places, np.arange(take)) else raw
                found = np.empty((len(indices), raw.shape[1]), np.uint8) if found is None else found
                found[places[at : at + take]] = raw
                at += take
        assert found is not None
        return found

    def _find(self, row: int) -> tuple[StoredTensor, int]:
        for source in self.sources:
            if row < self._rows_in(source):
                return source, row
            row -= self._rows_in(source)
        raise IndexError(row)

    def _read_rows(self, source: StoredTensor, first: int, count: int) -> Array:
        row_bytes = source.row_bytes
        if self.by_item:
            row_bytes //= source.shape[0]
            if row_bytes * source.shape[0] != source.row_bytes or source.block_bytes != row_bytes:
                raise FormatError(
                    f"{source.path}: tensor {source.name!r} is stored as {source.kind.name}, expected floats"
                )
        return read_bytes(source, first * row_bytes, count * row_bytes).reshape(count, row_bytes)


@dataclass(frozen=True, slots=True)
class Target:
    """One tensor of the network: its name, and the stored rows that it is, or is computed from."""

    name: str
    shape: tuple[int, ...]
    source: Gathered
    """The rows of which it is made; all of the stored tensors' where it is computed."""
    compute: Compute | None = None
    """Makes it of the stored tensors' values, each in its stored shape."""
    columns: Callable[[], npt.NDArray[np.intp]] | None = None
    """Which stored column each of its columns is, where that is all there is to compute."""


def read_bytes(stored: StoredTensor, start: int, length: int) -> Array:
    """Read bytes of a stored tensor; not mapped: a map counts as this process's memory, and a file that shrank would crash it.

    Raises:
        FormatError: the file has become shorter, or cannot be read.
    """
    path: Path = stored.path
    try:
        raw = np.fromfile(path, np.uint8, length, offset=stored.begin + start)
    except OSError as error:
        raise FormatError(f"{path} can no longer be read: {error}") from error
    if raw.size < length:
        what = f"tensor {stored.name!r}"
        raise truncated(path, what, stored.begin, stored.size_bytes, path.stat().st_size)
    return raw
