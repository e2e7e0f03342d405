"""One bounded step after another through the header of a GGUF file.

Every read is checked against the end of the file before anything is allocated, so a count or length
that lies costs nothing. Knows the encoding of values, not what they mean.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np
from gguf.constants import GGUFValueType

from edgelm.errors import FormatError

Buffer = bytes | mmap.mmap

MAX_HEADER_BYTES = 256 << 20
"""A vocabulary of 256k with its merges takes about 12 MB."""
MAX_ARRAY_ITEMS = 1 << 22
"""Items of all arrays together; the longest known (merges) has about half a million."""

LENGTH = struct.Struct("<Q")

SCALARS = {
    GGUFValueType.UINT8: "u1", GGUFValueType.INT8: "i1", GGUFValueType.BOOL: "?",
    GGUFValueType.UINT16: "<u2", GGUFValueType.INT16: "<i2",
    GGUFValueType.UINT32: "<u4", GGUFValueType.INT32: "<i4", GGUFValueType.FLOAT32: "<f4",
    GGUFValueType.UINT64: "<u8", GGUFValueType.INT64: "<i8", GGUFValueType.FLOAT64: "<f8",
}  # fmt: skip


class Cursor:
    """A position in a header, moving forward.

    Raises:
        FormatError: from any method, where the file ends too soon or a value cannot be.
    """

    def __init__(self, buffer: Buffer, path: Path) -> None:
        self.position = 0
        self.path = path
        self._buffer = buffer
        self._end = len(buffer)
        self._items_left = MAX_ARRAY_ITEMS

    def number(self, layout: str, what: str) -> int:
        """Read one unsigned little-endian integer: "<I" or "<Q"."""
        start = self._advance(struct.calcsize(layout), what)
        return int(struct.unpack_from(layout, self._buffer, start)[0])

    def text(self, what: str) -> str:
        """Read a length and that many bytes of UTF-8."""
        length = self.number("<Q", f"the length of {what}")
        start = self._advance(length, what)
        return self._decode(self._buffer[start : start + length], what)

    def value(self, kind: int, what: str) -> Any:
        """Read a value of GGUF type `kind` as str, int, float, bool or a list of them."""
        known = self._kind(kind, what)
        if known is GGUFValueType.STRING:
            return self.text(what)
        if known is not GGUFValueType.ARRAY:
            return self._scalars(SCALARS[known], 1, what)[0]
        item = self._kind(self.number("<I", f"the item type of {what}"), what)
        if item is GGUFValueType.ARRAY:
            raise FormatError(f"{self.path}: {what} is an array of arrays, expected an array of plain values")
        return self._array(item, self._count(what), what)

    def _array(self, item: GGUFValueType, count: int, what: str) -> list[Any]:
        if item is GGUFValueType.STRING:
            return self._texts(count, what)
        return self._scalars(SCALARS[item], count, what)

    def _kind(self, kind: int, what: str) -> GGUFValueType:
        try:
            return GGUFValueType(kind)
        except ValueError as error:
            raise FormatError(f"{self.path}: {what} has value type {kind}, expected 0 to 12") from error

    def _count(self, what: str) -> int:
        count = self.number("<Q", f"the item count of {what}")
        if count > self._items_left:
            raise FormatError(
                f"{self.path}: {what} announces {count} items, "
                f"expected at most {MAX_ARRAY_ITEMS} in all arrays together"
            )
        self._items_left -= count
        return count

    def _scalars(self, dtype: str, count: int, what: str) -> list[Any]:
        start = self._advance(np.dtype(dtype).itemsize * count, what)
        # "?" views bytes other than 0 and 1 unchanged; compare instead.
        values = np.frombuffer(self._buffer, "u1" if dtype == "?" else dtype, count, start)
        return list((values != 0 if dtype == "?" else values).tolist())

    def _texts(self, count: int, what: str) -> list[str]:
        """`count` strings; the loop is flat because a vocabulary has hundreds of thousands."""
        buffer, end, at = self._buffer, self._end, self.position
        unpack = LENGTH.unpack_from
        found: list[bytes] = []
        for _ in range(count):
            if at + 8 > end:
                self._short(at, 8, what)
            start = at + 8
            at = start + unpack(buffer, at)[0]
            if at > end:
                self._short(start, at - start, what)
            found.append(buffer[start:at])
        self.position = at
        self._check_length()
        return [self._decode(raw, what) for raw in found]

    def _decode(self, raw: bytes, what: str) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{self.path}: {what} holds {raw[:40]!r}, expected UTF-8") from error

    def _advance(self, length: int, what: str) -> int:
        start = self.position
        if start + length > self._end:
            self._short(start, length, what)
        self.position = start + length
        self._check_length()
        return start

    def _check_length(self) -> None:
        if self.position > MAX_HEADER_BYTES:
            raise FormatError(f"{self.path} has a header longer than {MAX_HEADER_BYTES} bytes")

    def _short(self, start: int, length: int, what: str) -> None:
        raise truncated(self.path, what, start, length, self._end)


def truncated(path: Path, what: str, start: int, length: int, size_bytes: int) -> FormatError:
    """Make the error for a file that ends inside `what`, which takes `length` bytes from `start`."""
    return FormatError(
        f"{path} ends at byte {size_bytes}, {start + length - size_bytes} bytes short: "
        f"{what} takes {length} bytes from byte {start}",
        hint="the download may be cut short; fetch the file again",
    )
