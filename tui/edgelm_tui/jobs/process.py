"""A child process that says what it does in JSON lines, and can be paused, resumed and stopped.

Its death, however it comes, is an event and nothing more: that is what child processes are for. Knows no job.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

_KEPT_LINES = 50


class ChildProcess:
    """Runs `argv` in a session of its own.

    Args:
        argv: the command.
        log: a file for what it says on stderr. Then nothing is read from it, and it outlives this process; else it says
            events, and ends when nobody listens any more.
    """

    def __init__(self, argv: Sequence[str], log: Path | None = None) -> None:
        self._events: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._errors: deque[str] = deque(maxlen=_KEPT_LINES)
        self._log = log
        self.is_paused = False
        with log.open("w") if log is not None else nullcontext(subprocess.PIPE) as errors:
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if log is None else subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        self._readers = (
            []
            if log is not None
            else [
                threading.Thread(target=self._read_events, daemon=True),
                threading.Thread(target=self._read_errors, daemon=True),
            ]
        )
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The number of the process, and of its group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs, or while something it said has not been read yet."""
        code = self._process.poll()
        return None if code is None or any(reader.is_alive() for reader in self._readers) else code

    @property
    def error_text(self) -> str:
        """The last lines of its stderr."""
        if self._log is not None:
            try:
                self._errors.extend(self._log.read_text(encoding="utf-8", errors="replace").splitlines())
            except OSError:
                return ""
        return "\n".join(self._errors)

    def drain(self) -> list[dict[str, Any]]:
        """Return the events since the last call."""
        events: list[dict[str, Any]] = []
        try:
            while True:
                events.append(self._events.get_nowait())
        except Empty:
            return events

    def pause(self) -> None:
        """Freeze it; nothing is lost."""
        self.is_paused = self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)
        self.is_paused = False

    def interrupt(self) -> None:
        """Interrupt it, as Ctrl-C does: it may tidy up."""
        self._signal(signal.SIGINT)
        self.resume()

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def close(self, timeout_s: float = 3.0) -> None:
        """Interrupt, then kill."""
        if self._process.poll() is None:
            self.interrupt()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        if self._process.poll() is None:
            self.kill()
            self._process.wait(timeout_s)

    def _signal(self, number: signal.Signals) -> bool:
        if self._process.poll() is not None:
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
            return True
        return False

    def _read_events(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "text", "text": line.rstrip("\n")}
            if isinstance(event, dict):
                self._events.put(event)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.append(line.rstrip("\n"))
