"""Progress of work that goes layer by layer, with the time that is left."""

from __future__ import annotations

import time

from edgelm.progress import OnProgress, Progress, Unit
from edgelm.units import format_seconds


class Clock:
    """Judges the time that is left by the parts done in this run, not by those an earlier run had finished."""

    def __init__(self, task: str, on_progress: OnProgress, parts: int, unit: Unit = "layers") -> None:
        self._task, self._on_progress, self._parts, self._unit = task, on_progress, parts, unit
        self._started, self._done, self._resumed = time.monotonic(), 0, 0

    def part_done(self, *, resumed: bool = False) -> None:
        """Count a finished layer, or what lies outside the layers, and report."""
        self._done += 1
        self._resumed += resumed
        self.at("")

    def at(self, module: str) -> None:
        """Report that the work has come to `module`."""
        finished = self._done - self._resumed
        left = ""
        if finished:
            each_s = (time.monotonic() - self._started) / finished
            left = f", {format_seconds(round(each_s * (self._parts - self._done)))} left"
        self._on_progress(Progress(self._task, self._done, self._parts, self._unit, module + left))
