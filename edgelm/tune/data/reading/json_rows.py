"""Values of JSON and JSON Lines texts, with the line each begins on; a broken one becomes a problem."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from edgelm.errors import FormatError
from edgelm.tune.data.problems import Problem
from edgelm.tune.data.rows import RowOrigin

Found = tuple[int, Any]
"""(line, value or Problem)."""

_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_json_lines(lines: Iterable[bytes], name: str) -> Iterator[Found]:
    """Read one value a line; blank lines are skipped, and counted.

    Raises:
        FormatError: the file is UTF-16.
    """
    for number, line in enumerate(lines, start=1):
        if number == 1 and line.startswith(_UTF16):
            raise FormatError(f"{name} is UTF-16, expected UTF-8", hint=f"iconv -f UTF-16 -t UTF-8 {name}")
        if line.strip():
            yield number, _parse_line(line, RowOrigin(name, number))


def _parse_line(line: bytes, origin: RowOrigin) -> Any:
    try:
        return json.loads(line.rstrip().decode("utf-8-sig" if origin.line == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        return Problem(origin, "", f"byte {error.start + 1} of the line is not UTF-8 text", "syntax")
    except (ValueError, RecursionError) as error:
        return _broken(error, origin)


def _broken(error: ValueError | RecursionError, origin: RowOrigin) -> Problem:
    if isinstance(error, json.JSONDecodeError):
        return Problem(origin, "", f"not valid JSON: {error.msg} at column {error.colno}", "syntax")
    reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return Problem(origin, "", f"not valid JSON: {reason}", "syntax")


def read_json(text: str, name: str) -> Iterator[Found]:
    """Read the elements of a list; or of the one list of objects in an object; or values one after the other.

    Raises:
        FormatError: nothing of these.
    """
    at = _skip(text, 0)
    if text.startswith("[", at):
        yield from _elements(text, at, name)
        return
    if not text.startswith("{", at):
        raise FormatError(f"{name} is not a JSON list or object", hint="expected [{...}, {...}]")
    inner = _list_inside(text, at)
    if inner is not None:
        yield from _elements(text, inner, name)
        return
    # JSON Lines under another name, or one object over many lines.
    lines = _Lines(text)
    while at < len(text):
        line, (value, at) = lines.of(at), _decode(text, at, name)
        yield line, value
        at = _skip(text, at)


def _elements(text: str, at: int, name: str) -> Iterator[Found]:
    """The elements of the list that begins at `at`; what follows a broken one cannot be told apart."""
    lines = _Lines(text)
    at = _skip(text, at + 1)
    while not text.startswith("]", at):
        line, (value, end) = lines.of(at), _decode(text, at, name)
        yield line, value
        at = _skip(text, end)
        if text.startswith(",", at):
            at = _skip(text, at + 1)
        elif not text.startswith("]", at):
            if not isinstance(value, Problem):
                origin = RowOrigin(name, lines.of(at))
                yield (
                    origin.line,
                    Problem(origin, "", "not valid JSON: expected , or ] after a row", "syntax"),
                )
            return


def _decode(text: str, at: int, name: str) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        problem = Problem(
            RowOrigin(name, error.lineno),
            "",
            f"not valid JSON: {error.msg} at column {error.colno}",
            "syntax",
        )
        return problem, len(text)
    except (ValueError, RecursionError) as error:
        return _broken(error, RowOrigin(name, text.count("\n", 0, at) + 1)), len(text)


def _list_inside(text: str, at: int) -> int | None:
    """Find where the only list of objects begins in the object at `at`, if that is the whole text.

    An object of one row (which has lists of its own: its messages) has the row's keys beside it.
    """
    lists: list[int] = []
    at = _skip(text, at + 1)
    while text.startswith('"', at):
        key, at = _decode(text, at, "")
        at = _skip(text, at)
        if not text.startswith(":", at):
            return None
        begin = _skip(text, at + 1)
        value, end = _decode(text, begin, "")
        if isinstance(value, Problem):
            # Broken inside a long list: its elements say where.
            return begin if text.startswith("[", begin) and key not in _ROW_LISTS else None
        if isinstance(value, list) and value and key not in _ROW_LISTS:
            lists += [begin] if all(isinstance(item, dict) for item in value) else []
        at = _skip(text, end)
        at = _skip(text, at + 1) if text.startswith(",", at) else at
    is_whole = text.startswith("}", at) and _skip(text, at + 1) == len(text)
    return lists[0] if is_whole and len(lists) == 1 else None


_ROW_LISTS = ("messages", "conversations", "prompt", "completion", "chosen", "rejected", "tools", "history")
"""Lists that belong to one row."""


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


class _Lines:
    """Line numbers of rising positions, counting each line once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1

    def of(self, at: int) -> int:
        self._line += self._text.count("\n", self._at, at)
        self._at = at
        return self._line
