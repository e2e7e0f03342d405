"""All runs of this user, newest first, each read on from where it was left."""

from __future__ import annotations

from pathlib import Path

from edgelm import paths
from edgelm.machine.lock import holder
from edgelm.runs.folder import CONFIG_FILE, LOCK_FILE
from edgelm.runs.log import RunLog


class RunShelf:
    """The runs in one directory.

    Args:
        folder: where they are; by default `paths.runs()`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self.logs: dict[str, RunLog] = {}

    @property
    def folder(self) -> Path:
        """The directory that the runs are in, which need not be there."""
        return self._folder or paths.runs()

    def trained_by(self, pid: int) -> RunLog | None:
        """Find the run that a process trains, once it does."""
        for lock in self.folder.glob(f"[!.]*/{LOCK_FILE}"):
            if holder(lock) == pid:
                return RunLog.open(lock.parent)
        return None

    def look(self, *, curves: bool = True) -> list[RunLog]:
        """Return every run, the newest first, each read on (see `RunLog.read_on`); may take a while the first time."""
        logs = {}
        for config in self.folder.glob(f"[!.]*/{CONFIG_FILE}") if self.folder.is_dir() else ():
            directory = config.parent
            if directory.name.startswith("."):
                continue
            log = self.logs.get(directory.name) or RunLog.open(directory)
            log.read_on(curves=curves)
            logs[directory.name] = log
        self.logs = logs
        return sorted(logs.values(), key=lambda log: (log.created, log.name), reverse=True)
