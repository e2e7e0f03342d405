"""Progress of long work, as plain values that any front end can show.

Long-running functions take `on_progress: OnProgress = ignore_progress` and call it; the command line
draws bars, the app fills widgets, tests collect a list. Nothing here knows about a screen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Unit = Literal["bytes", "tokens", "tensors", "files", "steps", "prompts", "rows", "requests", "layers"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One report: `done` of `total` units of `task` are finished."""

    task: str
    """What is being done, as shown to the user: "Converting", "Downloading"."""
    done: int
    total: int | None
    unit: Unit
    detail: str = ""
    """The tensor or file under way."""


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Report to nobody: the default where a caller wants no progress."""
