"""The jobs of this session with their progress, and keys to pause, resume, cancel and repeat them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets.option_list import Option

from edgelm_tui.jobs.manager import BackgroundJob
from edgelm_tui.shell.rows import RowList

_BAR = 20
_MARKS = {"waiting": "⧗", "running": "▶", "paused": "‖", "done": "✓", "failed": "✗", "cancelled": "×"}


class JobList(RowList):
    """One line a job, the newest first."""

    DEFAULT_CSS = """
    JobList, JobList:focus {
        height: auto; max-height: 8; border: none; border-top: solid $border-blurred; background: $background; padding: 0 1;
    }
    JobList { display: none; }
    JobList.open { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p,space", "act('pause')", "Pause or resume", id="job.pause"),
        Binding("x,delete", "act('cancel')", "Cancel", id="job.cancel"),
        Binding("r", "act('retry')", "Try again", id="job.retry"),
    ]

    def __init__(self) -> None:
        super().__init__(id="jobs", markup=False)

    def show(self, jobs: Sequence[BackgroundJob]) -> None:
        """Show all jobs."""
        self.set_class(bool(jobs), "open")
        lines = [(str(job.id), _line(job)) for job in reversed(jobs)]
        if [name for name, _ in lines] == [option.id for option in self.options]:
            for name, line in lines:
                self.replace_option_prompt(name, line)
            return
        self.clear_options()
        self.add_options([Option(line, id=name) for name, line in lines])
        self.highlighted = 0 if lines else None


def _line(job: BackgroundJob) -> Content:
    parts: list[str | tuple[str, str]] = [f"{_MARKS[job.state]} {job.title}  "]
    if job.state in ("running", "paused") and job.share is not None:
        full = round(min(job.share, 1.0) * _BAR)
        parts += [("━" * full, "$primary"), ("─" * (_BAR - full), "$foreground-muted"), "  "]
    colours = {"failed": "$text-error", "done": "$text-success"}
    parts.append((job.line(), colours.get(job.state, "$foreground-muted")))
    return Content.assemble(*parts)
