"""The training run that was begun in this app: its process, the directory it has made, and how it ended. Knows no widget."""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.atomic import disk_errors
from edgelm.machine.gpu.watchdog import hint as watchdog_hint
from edgelm.machine.gpu.watchdog import is_watchdog
from edgelm.runs.log import RunLog
from edgelm.runs.shelf import RunShelf
from edgelm_tui.jobs.process import ChildProcess

_SHOWN_LINES = 3


class OwnRun:
    """The one run, if any, that this app began and that is under way."""

    def __init__(self, shelf: RunShelf) -> None:
        self._shelf = shelf
        self.child: ChildProcess | None = None
        self.log: RunLog | None = None
        """Once the run has begun, which is after its data were checked and before its model is loaded."""

    def begin(self, argv: Sequence[str]) -> ChildProcess:
        """Train in a child process.

        Raises:
            OutputError: the directory of the runs cannot be written.
        """
        folder = self._shelf.folder
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.child = ChildProcess(argv, log=folder / ".last-error.log")
        self.log = None
        return self.child

    def has_begun(self) -> bool:
        """Tell whether the process has become a run since the last call."""
        if self.child is None or self.log is not None:
            return False
        self.log = self._shelf.trained_by(self.child.pid)
        return self.log is not None

    def status(self) -> str:
        """Say in a line how far it is, for the status line."""
        if self.log is None:
            return "preparing a training run"
        self.log.read_on()
        of = f" of {self.log.total_steps:,}" if self.log.total_steps else ""
        return f"training step {self.log.at:,}{of}"

    def forget(self) -> str | None:
        """Let the run go, which has ended: what went wrong, None if nothing did."""
        child, log, self.child, self.log = self.child, self.log, None, None
        if child is None or child.returncode in (0, None):
            return None
        code = child.returncode
        said = child.error_text
        lines = [line for line in said.splitlines() if line.strip()][-_SHOWN_LINES:]
        if log is None:
            return "\n".join(["the run did not begin", *lines])
        if is_watchdog(said):
            lines.append(f"r resumes the run from its last checkpoint; {watchdog_hint()}")
        how = f"signal {-code}" if code < 0 else f"code {code}"
        return "\n".join(
            [
                f"the training process ended with {how}",
                *(lines or ["r resumes the run from its last checkpoint"]),
            ]
        )
