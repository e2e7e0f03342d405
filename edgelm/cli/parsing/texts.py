"""What was typed or piped in, as clean Unicode text."""

from __future__ import annotations

import sys
from pathlib import Path

from edgelm.errors import FormatError, NotFoundError, OptionError
from edgelm.store.newlines import unix_newlines


def read_stdin() -> str:
    """Read all of stdin, which must be UTF-8; a leading byte-order mark is dropped, and lines end in `\\n`.

    Raises:
        FormatError: it is not UTF-8; the message gives the offset in bytes.
    """
    data = sys.stdin.buffer.read()
    try:
        return unix_newlines(data.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise FormatError(
            f"stdin is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start}",
            hint="convert it first, for example with iconv -f latin1 -t utf-8",
        ) from error


def text_or_file(text: str, origin: str) -> str:
    """Return `text`, or what the file holds that it names as `@FILE`; `@@` begins a text with an @.

    Raises:
        NotFoundError, FormatError: see `read_text` and `check_text`.
        OptionError: the file holds no text.
    """
    if not text.startswith("@"):
        return check_text(text, origin)
    if text.startswith("@@"):
        return check_text(text[1:], origin)
    file = Path(text[1:]).expanduser()
    found = unix_newlines(read_text(file)).rstrip("\n")
    if not found.strip():
        raise OptionError(f"{origin}: {file} is empty, expected text")
    return found


def check_text(text: str, origin: str) -> str:
    """Return `text` itself, where it is one.

    Raises:
        FormatError: it holds bytes that were not UTF-8, which Python carries as lone surrogates.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError(f"{origin} is not UTF-8 text at character {error.start}") from error
    return text


def read_text(file: Path) -> str:
    """Read a text file of the user's, in UTF-8, with or without a byte-order mark.

    Raises:
        NotFoundError: it is not there, or cannot be read.
        FormatError: it is not UTF-8 text.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFoundError(f"{file} does not exist") from None
    except OSError as error:
        raise NotFoundError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from error
