"""Progress on stderr: a bar for each task on a terminal, two lines a task elsewhere. Knows no command."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from edgelm.cli.show.output import error_console, is_terminal, say
from edgelm.progress import OnProgress, Progress
from edgelm.units import count, format_bytes, format_seconds, singular

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import Task, TaskID


@contextmanager
def progress_bars() -> Iterator[OnProgress]:
    """Show a bar for each task on stderr while the block runs; a line at its start and end off a terminal."""
    if not is_terminal(sys.stderr):
        yield _ProgressLines(say)
        return
    with ExitStack() as stack:
        yield _ProgressBars(stack)


def format_count(done: int, unit: str) -> str:
    """Say `(1_500_000, "bytes")` as `"1.5 MB"`, other units as `"1,500 tensors"`, `"1 tensor"`."""
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
