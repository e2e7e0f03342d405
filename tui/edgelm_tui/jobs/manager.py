"""The queue of long jobs: one runs at a time, each in a child process; the others wait.

Knows no widget; the app calls `tick`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgelm.machine.gpu.watchdog import watchdog_error
from edgelm.units import format_bytes, format_seconds
from edgelm_tui.jobs.process import ChildProcess

JobState = Literal["waiting", "running", "paused", "done", "failed", "cancelled"]
ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")
Command = Callable[[str, dict[str, Any]], Sequence[str]]


def child_command(kind: str, settings: dict[str, Any]) -> list[str]:
    """Return the command line of a job's process."""
    return [sys.executable, "-m", "edgelm_tui.jobs.child", kind, json.dumps(settings)]


@dataclass
class BackgroundJob:
    """One job, as far as it has come."""

    id: int
    kind: str
    title: str
    settings: dict[str, Any]
    state: JobState = "waiting"
    task: str = ""
    done: int = 0
    total: int | None = None
    unit: str = ""
    message: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    child: ChildProcess | None = None
    started: float = 0.0
    elapsed_s: float = 0.0

    @property
    def share(self) -> float | None:
        """How much of the task under way is done, 0 to 1."""
        return self.done / self.total if self.total else None

    def line(self) -> str:
        """Say how far the job is, as `Downloading 45% of 1.2 GB`."""
        match self.state:
            case "waiting":
                return "waiting"
            case "failed" | "cancelled":
                return f"{self.state}: {self.message}" if self.message else self.state
            case "done":
                return f"done in {format_seconds(self.elapsed_s)}"
        amount = f" {self.share:.0%}" if self.share is not None else ""
        of = f" of {format_bytes(self.total)}" if self.unit == "bytes" and self.total else ""
        return f"{self.task or 'starting'}{amount}{of}" + (" (paused)" if self.state == "paused" else "")


class JobManager:
    """All jobs of this run of the app."""

    def __init__(self, command: Command = child_command) -> None:
        self._command = command
        self.jobs: list[BackgroundJob] = []

    @property
    def current(self) -> BackgroundJob | None:
        """The one that runs or is paused."""
        return next((job for job in self.jobs if job.state in ("running", "paused")), None)

    def add(self, kind: str, title: str, settings: dict[str, Any]) -> BackgroundJob:
        """Put a job behind those that wait; the same one twice is refused by returning the first."""
        for job in self.jobs:
            if (job.kind, job.settings) == (kind, settings) and job.state not in ENDED:
                return job
        job = BackgroundJob(len(self.jobs) + 1, kind, title, settings)
        self.jobs.append(job)
        return job

    def tick(self) -> list[BackgroundJob]:
        """Start what may start; the jobs that have changed."""
        changed = []
        job = self.current
        if job is None:
            job = next((job for job in self.jobs if job.state == "waiting"), None)
            if job is not None:
                self._start(job)
                changed.append(job)
        if job is not None and job.child is not None and self._follow(job, job.child):
            changed.append(job)
        return changed

    def pause(self, job: BackgroundJob) -> None:
        """Freeze a job, or let it go on."""
        if job.child is None:
            return
        if job.state == "running":
            job.child.pause()
            job.state = "paused"
        elif job.state == "paused":
            job.child.resume()
            job.state = "running"

    def cancel(self, job: BackgroundJob) -> None:
        """Stop a job; what it had downloaded is kept for the next try."""
        if job.state in ENDED:
            return
        if job.child is not None:
            job.child.interrupt()
        else:
            job.state = "cancelled"

    def retry(self, job: BackgroundJob) -> None:
        """Put a job that has failed behind those that wait."""
        if job.state in ("failed", "cancelled"):
            job.state, job.message, job.child, job.done, job.total = "waiting", "", None, 0, None

    def interrupt(self) -> None:
        """Tell everything to end, and wait for nothing."""
        for job in self.jobs:
            if job.child is not None:
                job.child.interrupt()

    def close(self) -> None:
        """Stop every job, and wait for its end."""
        for job in self.jobs:
            if job.child is not None:
                job.child.close()

    def status(self) -> str:
        """Say in a line what runs and how many jobs wait, for the status line."""
        job = self.current
        if job is None:
            return ""
        waiting = sum(job.state == "waiting" for job in self.jobs)
        return f"{job.title}: {job.line()}" + (f" (+{waiting})" if waiting else "")

    def _start(self, job: BackgroundJob) -> None:
        job.child = ChildProcess(self._command(job.kind, job.settings))
        job.state, job.started = "running", time.monotonic()

    def _follow(self, job: BackgroundJob, child: ChildProcess) -> bool:
        code = child.returncode
        events = child.drain()
        for event in events:
            self._note(job, event)
        if code is None or job.state in ENDED:
            return bool(events)
        job.elapsed_s = time.monotonic() - job.started
        if job.result:
            job.state = "done"
        elif job.message == "cancelled" or code == -2:
            job.state, job.message = "cancelled", ""
        else:
            job.state = "failed"
            job.message = job.message or _last_words(child.error_text) or f"its process ended with {code}"
        return True

    def _note(self, job: BackgroundJob, event: dict[str, Any]) -> None:
        match event.get("event"):
            case "progress":
                job.task, job.unit = str(event.get("task")), str(event.get("unit"))
                job.done, job.total = int(event.get("done") or 0), event.get("total")
            case "done":
                job.result = event
            case "error":
                hint = f" ({event['hint']})" if event.get("hint") else ""
                job.message = f"{event.get('message')}{hint}"


def _last_words(text: str) -> str:
    """Why a process died that said no error: its last line, or that macOS's GPU watchdog ended it."""
    stopped = watchdog_error(text, "this job", "a smaller setting")
    if stopped is not None:
        return f"{stopped.message} ({stopped.hint})"
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
