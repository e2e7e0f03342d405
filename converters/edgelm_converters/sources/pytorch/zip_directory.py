"""Where the members of a zip archive lie.

Written for archives that nobody vouches for: the directory is bounded before it is read, members are
neither extracted nor inflated, and two of one name are refused. Knows nothing of torch.
Format: PKWARE's APPNOTE 6.3.10, sections 4.3.7 (local header) to 4.3.16 (end record).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgelm.errors import FormatError, UnsupportedError

MAX_DIRECTORY_BYTES = 16 << 20
MAX_MEMBERS = 100_000

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_FULL = 0xFFFFFFFF
_FULL_SHORT = 0xFFFF


@dataclass(frozen=True, slots=True)
class Member:
    """A member as the directory has it; sizes and offsets in bytes."""

    name: str
    method: int
    is_encrypted: bool
    size: int
    stored_size: int
    header_offset: int


class ZipDirectory:
    """The members of the archive in `file`, by name.

    Raises:
        FormatError: the archive is truncated or its directory is not valid.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._size = file.seek(0, 2)
        self._begin, size, count = self._locate()
        self.members = self._read_members(self._at(self._begin, size), count)

    def begin(self, member: Member) -> int:
        """Find where the bytes of `member` start in the file, and check that they are all there.

        Raises:
            UnsupportedError: it is compressed or encrypted.
            FormatError: it does not lie where the directory says.
        """
        if member.method != 0 or member.is_encrypted:
            how = "encrypted" if member.is_encrypted else f"compressed (method {member.method})"
            raise UnsupportedError(
                f"{member.name!r} in {self._path} is {how}, expected stored, as torch.save writes it",
                hint="unpack the archive and pack it again without compression (zip -0)",
            )
        header = self._at(member.header_offset, _LOCAL.size)
        fields = _LOCAL.unpack(header)
        signature, name_length, extra_length = fields[0], fields[-2], fields[-1]
        name = self._at(member.header_offset + _LOCAL.size, name_length)
        begin: int = member.header_offset + _LOCAL.size + name_length + extra_length
        if signature != b"PK\3\4" or name != member.name.encode():
            raise self._broken(f"{member.name!r} is not where its directory says")
        if member.size != member.stored_size or begin + member.size > self._begin:
            raise self._broken(f"{member.name!r} is said to take {member.size} bytes, more than there are")
        return begin

    def _broken(self, reason: str) -> FormatError:
        return FormatError(
            f"{self._path} is a broken zip archive: {reason}",
            hint="the download may be cut short; try it again",
        )

    def _at(self, offset: int, size: int) -> bytes:
        if offset + size > self._size:
            raise self._broken(f"it refers to byte {offset + size}, but has {self._size}")
        self._file.seek(offset)
        return self._file.read(size)

    def _locate(self) -> tuple[int, int, int]:
        """Offset of the directory, its size and the number of its members."""
        tail_at = max(0, self._size - _END.size - _FULL_SHORT)
        tail = self._at(tail_at, self._size - tail_at)
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) - at < _END.size:
            raise self._broken("it has no directory at its end")
        *_, count, size, offset, _ = _END.unpack_from(tail, at)
        end = tail_at + at
        if count == _FULL_SHORT or _FULL in (size, offset):
            end, count, size, offset = self._locate64(end)
        if size > MAX_DIRECTORY_BYTES or count > MAX_MEMBERS:
            raise self._broken(f"its directory of {count} members takes {size} bytes")
        if offset + size > end:
            raise self._broken("its directory runs past its end")
        return offset, size, count

    def _locate64(self, end: int) -> tuple[int, int, int, int]:
        if end < _END64_LOCATOR.size:
            raise self._broken("it lacks its 64-bit directory")
        locator = _END64_LOCATOR.unpack(self._at(end - _END64_LOCATOR.size, _END64_LOCATOR.size))
        fields = _END64.unpack(self._at(locator[2], _END64.size))
        if locator[0] != b"PK\6\7" or fields[0] != b"PK\6\6":
            raise self._broken("it lacks its 64-bit directory")
        count, size, offset = fields[-3:]
        return locator[2], count, size, offset

    def _read_members(self, data: bytes, count: int) -> dict[str, Member]:
        members: dict[str, Member] = {}
        at = 0
        for _ in range(count):
            member, at = self._read_member(data, at)
            if member.name in members:
                raise self._broken(f"{member.name!r} is in it twice")
            members[member.name] = member
        return members

    def _read_member(self, data: bytes, at: int) -> tuple[Member, int]:
        """The member at byte `at` of the directory, and where the next one starts."""
        if at + _CENTRAL.size > len(data) or data[at : at + 4] != b"PK\1\2":
            raise self._broken("its directory is damaged")
        fields = _CENTRAL.unpack_from(data, at)
        flags, method = fields[3], fields[4]
        stored_size, size, name_length, extra_length, comment_length = fields[8:13]
        name_end = at + _CENTRAL.size + name_length
        end = name_end + extra_length + comment_length
        if end > len(data):
            raise self._broken("its directory is damaged")
        name, extra = data[name_end - name_length : name_end], data[name_end : name_end + extra_length]
        size, stored_size, offset = _widen((size, stored_size, fields[-1]), extra)
        try:
            member = Member(name.decode(), method, bool(flags & 1), size, stored_size, offset)
        except UnicodeDecodeError as error:
            raise self._broken("a name in its directory is not UTF-8") from error
        return member, end


def _widen(values: tuple[int, int, int], extra: bytes) -> tuple[int, int, int]:
    """Replace what did not fit 32 bits by the values of the zip64 extra field, which come in this order."""
    wide = _zip64_values(extra)
    size, stored_size, offset = (next(wide, value) if value == _FULL else value for value in values)
    return size, stored_size, offset


def _zip64_values(extra: bytes) -> Iterator[int]:
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        body, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == 1:
            yield from (int.from_bytes(body[at : at + 8], "little") for at in range(0, len(body) - 7, 8))
