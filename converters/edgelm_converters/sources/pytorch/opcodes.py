"""Bytes to pickle opcodes, one at a time.

What an opcode announces is checked before a byte of it is read, so memory stays bounded whatever the
bytes say. Knows how opcodes are laid out (`pickletools` in the standard library is the reference), not
what they do.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

MAX_PICKLE_BYTES = 32 << 20
"""A file of 30,000 tensors takes about 5 MB."""
MAX_TEXT_BYTES = 1 << 16
"""Bytes of one string: a tensor name, a storage key, a device."""
MAX_INTEGER_BYTES = 16
"""The longest integer that torch writes is the 10-byte magic number of its legacy format."""
MAX_LINE_BYTES = 1 << 10


class MalformedError(Exception):
    """What is wrong with a pickle; never leaves the package, which adds the place and the path."""


class Window:
    """The bytes of a file from its current position on, at most `size_bytes` of them."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._left = min(size_bytes, MAX_PICKLE_BYTES)
        self.position = 0

    def read(self, size_bytes: int, limit: int = MAX_TEXT_BYTES) -> bytes:
        """Exactly `size_bytes` bytes."""
        if not 0 <= size_bytes <= limit:
            raise MalformedError(f"an item of {size_bytes} bytes, where at most {limit} are expected")
        return self._take(self._file.read(min(size_bytes, self._left)), size_bytes)

    def read_line(self) -> bytes:
        """Read up to the next newline, which is dropped."""
        line = self._file.readline(min(MAX_LINE_BYTES, self._left))
        if not line.endswith(b"\n"):
            raise MalformedError(f"a line of text that does not end within {MAX_LINE_BYTES} bytes")
        return self._take(line, len(line))[:-1]

    def _take(self, data: bytes, wanted: int) -> bytes:
        if len(data) < wanted:
            raise MalformedError("it ends too soon")
        self._left -= wanted
        self.position += wanted
        return data


def read_opcodes(window: Window) -> Iterator[tuple[str, Any]]:
    """Read the opcodes up to and with STOP, as (name, argument), by the names of `pickletools`.

    Raises:
        MalformedError: the bytes are no pickle, end too soon, or announce what no checkpoint holds.
    """
    name = ""
    while name != "STOP":
        code = window.read(1)
        opcode = _OPCODES.get(code)
        if opcode is None:
            raise MalformedError(f"unknown opcode {code!r}")
        name = opcode.name
        read_argument = _ARGUMENTS.get(name)
        if read_argument is None and opcode.arg is not None:
            raise MalformedError(f"opcode {name}, which torch.save does not write")
        yield name, read_argument(window) if read_argument else None


_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}


def _number(layout: str) -> Callable[[Window], Any]:
    form = struct.Struct(layout)
    return lambda window: form.unpack(window.read(form.size))[0]


def _sized(
    length: str, decode: Callable[[bytes], Any], limit: int = MAX_TEXT_BYTES
) -> Callable[[Window], Any]:
    read_length = _number(length)
    return lambda window: decode(window.read(read_length(window), limit))


def _utf8(data: bytes) -> str:
    # As pickle does: a lone surrogate is a valid Python string.
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise MalformedError(f"a string that is not UTF-8: {error.reason}") from error


def _latin1(data: bytes) -> str:
    return data.decode("latin-1")


def _integer(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _line(window: Window) -> str:
    return _utf8(window.read_line())


def _dotted_name(window: Window) -> str:
    module = _line(window)
    return f"{module}.{_line(window)}"


def _integer_line(window: Window) -> int | bool:
    text = _line(window).removesuffix("L")
    if text in ("00", "01"):
        return text == "01"
    if len(text) > 2 * MAX_INTEGER_BYTES or not text.removeprefix("-").isdecimal():
        raise MalformedError("a line of text where an integer is expected")
    return int(text)


_ARGUMENTS: dict[str, Callable[[Window], Any]] = {
    "PROTO": _number("<B"),
    "FRAME": _number("<Q"),
    "BININT": _number("<i"),
    "BININT1": _number("<B"),
    "BININT2": _number("<H"),
    "BINFLOAT": _number(">d"),
    "LONG1": _sized("<B", _integer, MAX_INTEGER_BYTES),
    "LONG4": _sized("<i", _integer, MAX_INTEGER_BYTES),
    "INT": _integer_line,
    "LONG": _integer_line,
    "BINPUT": _number("<B"),
    "LONG_BINPUT": _number("<I"),
    "PUT": _integer_line,
    "BINGET": _number("<B"),
    "LONG_BINGET": _number("<I"),
    "GET": _integer_line,
    "BINUNICODE": _sized("<I", _utf8),
    "SHORT_BINUNICODE": _sized("<B", _utf8),
    "BINUNICODE8": _sized("<Q", _utf8),
    "BINSTRING": _sized("<i", _latin1),
    "SHORT_BINSTRING": _sized("<B", _latin1),
    "BINBYTES": _sized("<I", bytes),
    "SHORT_BINBYTES": _sized("<B", bytes),
    "BINBYTES8": _sized("<Q", bytes),
    # Protocol 0, which torch cannot write: kept as it stands, so that the global which follows is named.
    "STRING": _line,
    "UNICODE": _line,
    "FLOAT": _line,
    "GLOBAL": _dotted_name,
    "INST": _dotted_name,
    "EXT1": _number("<B"),
    "EXT2": _number("<H"),
    "EXT4": _number("<i"),
}
