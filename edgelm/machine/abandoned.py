"""Threads that were let go of while they were still loading, and how a process leaves that has one.

What a thread is inside of (a shard that is read, an import) cannot be interrupted, and nobody who pressed Ctrl-C waits
for it. It ends at the next step of loading and frees what it had; a process that leaves before that leaves without it:
Python's own end and MLX's would wait for the thread, or abort under it. Knows no MLX.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import NoReturn

_threads: list[threading.Thread] = []


def abandon(thread: threading.Thread) -> None:
    """Stop waiting for `thread`, which was told to end."""
    _threads.append(thread)


def is_any_alive(wait_s: float = 0.0) -> bool:
    """Return whether an abandoned thread still works, after it was given `wait_s` to end."""
    for thread in list(_threads):
        if thread.is_alive():
            thread.join(wait_s)
        if not thread.is_alive():
            _threads.remove(thread)
    return bool(_threads)


def leave(exit_code: int) -> NoReturn:
    """End the process at once, with what was printed."""
    _flush()
    os._exit(exit_code)


def leave_interrupted() -> None:
    """End the process as Python ends one that Ctrl-C has stopped: by SIGINT itself, which shells report as 130."""
    _flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
