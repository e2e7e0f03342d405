r"""Files that a prompt names with an @ and takes with it. Knows no widget.

    @notes.txt   @"my notes.txt"   @my\ notes.txt   @file:///home/ann/notes.txt   @~/my notes.txt

A word with an @ that looks like no file (`@ann`, `@property`) is text; so is one that is cited (`[@smith.2020 p. 3]`), unless a
file of that name is there.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgelm.conversation.typed_paths import exists, path_of, paths_of
from edgelm.errors import OptionError
from edgelm.store.chat_schema import Attachment
from edgelm.store.newlines import unix_newlines
from edgelm.units import format_bytes

_MAX_BYTES = 1_000_000
_MENTION = re.compile(
    r"""(?:^|(?<=[\s(\[{]))@("(?:\\.|[^"\\\n])+"|'[^'\n]+'|(?:\\.|[^\s\\])+)([^\n]*)""", re.MULTILINE
)
_LOOKS_LIKE_A_FILE = re.compile(r"""["']|(?:file:)?[~./]|[^()]*/[^()]*$|[^()]*\.\w{1,8}$""")
_AFTER_A_NAME = ".,;:!?)]}"
_WORDS = 12
"""Words of a name with spaces that nothing quotes, at most."""


def files_in(text: str) -> tuple[list[Attachment], list[str]]:
    """Read the files that `text` names with an @; the second list says what is wrong with those that cannot be read."""
    files: dict[Path, Attachment] = {}
    problems: list[str] = []
    at = 0
    while (mention := _MENTION.search(text, at)) is not None:
        at = mention.end(1)
        path = _meant(mention[1], mention[2])
        if path is None:
            if _LOOKS_LIKE_A_FILE.match(mention[1]) and text[: mention.start()][-1:] != "[":
                problems.append(f"there is no file {mention[1].rstrip(_AFTER_A_NAME)}")
        elif path not in files:
            try:
                files[path] = _read(path)
            except OptionError as error:
                problems.append(error.message)
    return list(files.values()), list(dict.fromkeys(problems))


def files_named(names: str) -> list[Attachment]:
    """Read the files that `/attach` names.

    Raises:
        OptionError: none is named, there is none, or it is no text, or too large.
    """
    if not names.strip():
        raise OptionError("no file is named", hint="/attach FILE")
    return [_read(path) for path in paths_of(names)]


def _meant(word: str, rest: str) -> Path | None:
    """The file that is there under the word, the word without what ends a sentence, or the word and some after it."""
    candidates = [word, word.rstrip(_AFTER_A_NAME)]
    if word[0] not in "\"'":
        spaces = [space.start() for space in re.finditer(r"\s|$", rest)][: _WORDS + 1]
        longer = [word + rest[:end] for end in spaces if end]
        candidates += [
            name for longer_name in longer for name in (longer_name, longer_name.rstrip(_AFTER_A_NAME))
        ]
    paths = [path_of(name) for name in candidates if name]
    return next((path for path in paths if exists(path) and _is_meant(path, word)), None)


def _is_meant(path: Path, word: str) -> bool:
    """A folder is meant only where that is said: `@tests` may be a person."""
    return not path.is_dir() or bool(_LOOKS_LIKE_A_FILE.match(word))


def _read(path: Path) -> Attachment:
    try:
        if path.is_dir():
            raise OptionError(f"{path} is a folder, expected a text file")
        if exists(path) and not path.is_file():
            raise OptionError(f"{path} is no file that can be attached")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise OptionError(f"{path} has {format_bytes(size)}, expected at most {format_bytes(_MAX_BYTES)}")
        data = path.read_bytes()
    except FileNotFoundError:
        raise OptionError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(f"{path} cannot be read: {reason}") from error
    return Attachment(str(path), _decoded(data, path))


def _decoded(data: bytes, path: Path) -> str:
    if b"\0" in data:
        raise OptionError(f"{path} is binary, expected text")
    try:
        return unix_newlines(data.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise OptionError(
            f"{path} is no UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start}"
        ) from error
