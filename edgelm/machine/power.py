"""Keeping a Mac awake while a long job runs, through its own `caffeinate`; elsewhere nothing happens.

Only idle sleep is held off (`-i`), never the display's (`-d`): with the display asleep macOS's GPU watchdog does not end
long kernels. `caffeinate` waits for this process (`-w`), so that it ends with a job that is killed. Knows no job.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelm import log

CAFFEINATE = Path("/usr/bin/caffeinate")


class _Assertion:
    """One `caffeinate` for this process, while somebody wants it and nobody lets it go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = self._released = 0
        self._holder: subprocess.Popen[bytes] | None = None

    @property
    def is_held(self) -> bool:
        """Whether the program runs now."""
        return self._holder is not None and self._holder.poll() is None

    def change(self, *, wanted: int = 0, released: int = 0) -> None:
        with self._lock:
            self._wanted += wanted
            self._released += released
            if self._wanted and not self._released:
                self._begin()
            else:
                self._end()

    def _begin(self) -> None:
        if self.is_held or sys.platform != "darwin" or not CAFFEINATE.exists():
            return
        try:
            self._holder = subprocess.Popen(
                [CAFFEINATE, "-i", "-w", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C lets a job end with a checkpoint, and that is still work
            )
        except OSError as error:
            log.logger.info("%s cannot be started, so this Mac may sleep: %s", CAFFEINATE, error)

    def _end(self) -> None:
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.terminate()
            holder.wait()


_assertion = _Assertion()


@contextmanager
def kept_awake() -> Iterator[None]:
    """While the block runs, this Mac does not sleep for want of a user; blocks may lie in one another and in threads."""
    _assertion.change(wanted=1)
    try:
        yield
    finally:
        _assertion.change(wanted=-1)


@contextmanager
def sleep_allowed() -> Iterator[None]:
    """While the block runs, in the middle of work that is `kept_awake`, the Mac may sleep: a job that waits holds nothing."""
    _assertion.change(released=1)
    try:
        yield
    finally:
        _assertion.change(released=-1)


def is_held() -> bool:
    """Return whether this process keeps the Mac awake now."""
    return _assertion.is_held
