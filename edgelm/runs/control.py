"""Telling a run under way to pause, go on, write a checkpoint, or stop: by a file, by signals, or from Python.

Another process writes one word into the run's `control` file; the run takes it between two steps. SIGINT and SIGTERM stop
(a second one at once), SIGUSR1 writes a checkpoint, SIGUSR2 pauses or goes on. A stop always ends with a checkpoint.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal, get_args

from edgelm.atomic import atomic_write
from edgelm.errors import OptionError

Order = Literal["pause", "resume", "checkpoint", "stop"]
CONTROL_FILE = "control"


class RunControl:
    """What was asked of a run. Safe from any thread and signal handler."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._stop = threading.Event()
        self._pause = threading.Event()
        self._checkpoint = threading.Event()

    def give(self, order: Order) -> None:
        """Ask for something; it is done between two steps."""
        if order == "stop":
            self._stop.set()
        elif order == "checkpoint":
            self._checkpoint.set()
        elif order == "pause":
            self._pause.set()
        else:
            self._pause.clear()

    @property
    def should_stop(self) -> bool:
        """Whether to end with a checkpoint."""
        return self._stop.is_set()

    @property
    def should_pause(self) -> bool:
        """Whether to wait."""
        return self._pause.is_set()

    def take_checkpoint(self) -> bool:
        """Take the wish for a checkpoint, if one came since the last call."""
        asked = self._checkpoint.is_set()
        self._checkpoint.clear()
        return asked

    def look(self) -> None:
        """Take the order in the control file, if there is one."""
        if self._file is None or not self._file.exists():
            return
        word = self._file.read_text(encoding="utf-8", errors="replace").strip()
        self._file.unlink(missing_ok=True)
        if word in get_args(Order):
            self.give(word)  # type: ignore[arg-type]

    @contextmanager
    def signals(self, *, is_shared: bool = False) -> Iterator[None]:
        """Obey signals while the block runs; only in the main thread, which is where Python has them.

        `is_shared`: other machines train too. When one is lost, `mlx.launch` terminates the rest at once, so after an
        error SIGTERM is ignored: the process ends by itself, once it has said what happened.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {
            signal.SIGINT: self._on_stop,
            signal.SIGTERM: self._on_stop,
            signal.SIGUSR1: lambda *_: self.give("checkpoint"),
            signal.SIGUSR2: lambda *_: self.give("resume" if self.should_pause else "pause"),
        }
        kept = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        except BaseException:
            if is_shared:
                kept[signal.SIGTERM] = signal.SIG_IGN
            raise
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    def _on_stop(self, number: int, _: FrameType | None) -> None:
        if self.should_stop:
            raise KeyboardInterrupt
        self.give("stop")


def send(run: Path, order: str) -> None:
    """Put an order into the control file of the run in `run`.

    Raises:
        OptionError: there is no such order.
        OutputError: it cannot be written.
    """
    if order not in get_args(Order):
        raise OptionError(f"the order is {order!r}, expected {', '.join(get_args(Order))}")
    atomic_write(run / CONTROL_FILE, order)
