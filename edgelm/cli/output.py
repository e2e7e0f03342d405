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
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TextIO

from edgelm.progress import OnProgress, Progress
from edgelm.units import count, format_bytes, format_seconds, singular

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import Task, TaskID

_RED, _YELLOW, _CYAN, _DIM = "1;31", "1;33", "1;36", "2"
ERASE_LINE = "\r\x1b[2K"


class _Look:
    is_plain = False


def be_plain(wanted: bool) -> None:
    """Print no colour and redraw nothing from now on, whatever the terminal can (`--plain`)."""
    _Look.is_plain = wanted


def is_terminal(stream: TextIO) -> bool:
    """Whether lines may be redrawn on `stream`."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not _Look.is_plain


def shows_colour(stream: TextIO) -> bool:
    """Whether `stream` shows colour and other styles."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def paint(text: str, code: str, stream: TextIO) -> str:
    """`text` in the ANSI style `code`, where `stream` shows colour."""
    if not text or not shows_colour(stream):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def dim(text: str, stream: TextIO) -> str:
    """`text` made quiet, where `stream` shows colour."""
    return paint(text, _DIM, stream)


def show_error(message: str, hint: str | None = None, *, label: str = "error") -> None:
    """`error: message`, a blank line and `hint: …`, on stderr. An empty `label` leaves the bare message."""
    head = paint(f"{label}:", _RED, sys.stderr) + " " if label else ""
    sys.stderr.write(f"{head}{message}\n")
    if hint:
        sys.stderr.write(f"\n{paint('hint:', _CYAN, sys.stderr)} {hint}\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """`warning: text` on stderr."""
    print(f"{paint('warning:', _YELLOW, sys.stderr)} {text}", file=sys.stderr)


def say(text: str) -> None:
    """A line on stderr for the person watching; never part of the result."""
    print(text, file=sys.stderr)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """`value` as JSON on stdout; `indent=None` puts it on one line (JSON lines).

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


@contextmanager
def progress_bars() -> Iterator[OnProgress]:
    """A bar for each task on stderr while the block runs; a line at its start and end off a terminal."""
    if not is_terminal(sys.stderr):
        yield _ProgressLines(say)
        return
    with ExitStack() as stack:
        yield _ProgressBars(stack)


def format_count(done: int, unit: str) -> str:
    """`(1_500_000, "bytes")` → `"1.5 MB"`; other units as `"1,500 tensors"`, `"1 tensor"`."""
    return format_bytes(done) if unit == "bytes" else count(done, singular(unit), unit)


class _ProgressLines:
    """Progress for logs and screen readers: two lines a task, however many reports."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._started: dict[str, float] = {}
        self._ended: set[str] = set()

    def __call__(self, report: Progress) -> None:
        if report.task not in self._started:
            self._started[report.task] = time.monotonic()
            size = "" if report.total is None else f" ({format_count(report.total, report.unit)})"
            self._write(f"{report.task}{size}")
        if report.done == report.total and report.task not in self._ended:
            self._ended.add(report.task)
            elapsed_s = time.monotonic() - self._started[report.task]
            self._write(f"{report.task}: done in {format_seconds(elapsed_s)}")


class _ProgressBars:
    """Progress for a terminal: one bar a task. rich is imported at the first report, which may never come."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._bars: Bars | None = None
        self._ids: dict[str, TaskID] = {}

    def __call__(self, report: Progress) -> None:
        if self._bars is None:
            self._bars = self._stack.enter_context(_bars())
        if report.task not in self._ids:
            self._ids[report.task] = self._bars.add_task(
                report.task, total=report.total, unit=report.unit, detail=""
            )
        self._bars.update(
            self._ids[report.task], completed=report.done, total=report.total, detail=report.detail
        )


def _bars() -> Bars:
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        _amount_column(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn(
            "{task.fields[detail]}", style="dim", markup=False, table_column=Column(no_wrap=True, ratio=1)
        ),
        console=error_console(),
        expand=True,
    )


def _amount_column() -> Any:
    from rich.progress import ProgressColumn
    from rich.text import Text

    class Amount(ProgressColumn):
        """`12.1 MB/270 MB 55 MB/s`."""

        def render(self, task: Task) -> Text:
            return Text(
                _amount(task.completed, task.total, task.finished_speed or task.speed, task.fields["unit"])
            )

    return Amount()


def _amount(done: float, total: float | None, speed: float | None, unit: str) -> str:
    if unit == "bytes":
        shown = format_bytes(done) if total is None else f"{format_bytes(done)}/{format_bytes(total)}"
        return f"{shown} {format_bytes(speed)}/s" if speed else shown
    named = singular(unit) if (done if total is None else total) == 1 else unit
    return f"{done:,.0f} {named}" if total is None else f"{done:,.0f}/{total:,.0f} {named}"


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
