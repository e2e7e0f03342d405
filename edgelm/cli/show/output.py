"""What the command line prints: results on stdout, everything else on stderr.

Colour only on a terminal and never under NO_COLOR; every line reads the same without it. rich is imported
inside functions, so that `--help` stays light. Knows no command.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_RED, _YELLOW, _CYAN, _DIM = "1;31", "1;33", "1;36", "2"
ERASE_LINE = "\r\x1b[2K"


class _Look:
    is_plain = False


def be_plain(wanted: bool) -> None:
    """Print no colour and redraw nothing from now on, whatever the terminal can (`--plain`)."""
    _Look.is_plain = wanted


def is_terminal(stream: TextIO) -> bool:
    """Tell whether lines may be redrawn on `stream`."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not _Look.is_plain


def shows_colour(stream: TextIO) -> bool:
    """Tell whether `stream` shows colour and other styles."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def paint(text: str, code: str, stream: TextIO) -> str:
    """Put `text` in the ANSI style `code`, where `stream` shows colour."""
    if not text or not shows_colour(stream):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def dim(text: str, stream: TextIO) -> str:
    """Make `text` quiet, where `stream` shows colour."""
    return paint(text, _DIM, stream)


def show_error(message: str, hint: str | None = None, *, label: str = "error") -> None:
    """Print `error: message`, a blank line and `hint: …`, on stderr. An empty `label` leaves the bare message."""
    head = paint(f"{label}:", _RED, sys.stderr) + " " if label else ""
    sys.stderr.write(f"{head}{message}\n")
    if hint:
        sys.stderr.write(f"\n{paint('hint:', _CYAN, sys.stderr)} {hint}\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """Print `warning: text` on stderr."""
    print(f"{paint('warning:', _YELLOW, sys.stderr)} {text}", file=sys.stderr)


def say(text: str) -> None:
    """Print a line on stderr for the person watching; never part of the result."""
    print(text, file=sys.stderr)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print `value` as JSON on stdout; `indent=None` puts it on one line (JSON lines).

    Dataclasses become objects, paths strings, and NaN and infinity null: JSON has no other word for them.
    """
    print(json.dumps(_plain(value), ensure_ascii=False, indent=indent, allow_nan=False), flush=True)


def console() -> Console:
    """rich on stdout, for tables and styled text; strings are printed to the letter, styles are `Text`'s."""
    if not sys.stdout.isatty():
        from edgelm.cli.show.tables import PipeConsole

        return PipeConsole(file=sys.stdout, highlight=False, emoji=False, markup=False, color_system=None)
    return _rich(sys.stdout)


def error_console() -> Console:
    """rich on stderr, for what is redrawn while one waits."""
    return _rich(sys.stderr)


def _rich(stream: TextIO) -> Console:
    from rich.console import Console

    # Without a colour system rich leaves bold and the like out too, as `paint` does.
    system: Literal["auto"] | None = "auto" if shows_colour(stream) else None
    return Console(file=stream, highlight=False, emoji=False, markup=False, color_system=system)


def _plain(value: Any) -> Any:
    """What `json` can write."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value
