"""A file that a process holds for as long as it lives, however it ends: `flock`, released by the kernel at SIGKILL too.

The file holds the holder's number for people and programs to read; the lock, not the number, says that it lives, so no
reboot and no later process of that number makes it true again. The file stays when the lock goes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from edgelm.processes import is_alive

_TRIES = 40
_BETWEEN_S = 0.025
"""Who looks whether a lock is held takes it for a moment, with others who look."""
_NO_LOCKS_HERE = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL)
"""Some network file systems: the number is all there is."""


class ProcessLock:
    """The lock in the file `path`. One object takes and releases it; any other may ask who has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def take(self) -> int | None:
        """Take the lock, and write down this process's number.

        Returns:
            None if it was taken, else the number of the process that has it (0 where it has not said it yet).

        Raises:
            OSError: the file cannot be opened.
        """
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _is_supported(handle) and (living := _living(self._path)) not in (None, os.getpid()):
            os.close(handle)
            return living
        for _ in range(_TRIES):
            if _locked(handle, fcntl.LOCK_EX):
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
                self._handle = handle
                return None
            time.sleep(_BETWEEN_S)
        os.close(handle)
        return _number(self._path) or 0

    def release(self) -> None:
        """Give the lock back; nothing happens where it was not taken."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.ftruncate(handle, 0)
            os.close(handle)


def holder(path: Path) -> int | None:
    """Return the process number of who holds the lock in `path`: 0 where it is not written yet, None where nobody does."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        if not _is_supported(handle):
            return _living(path)
        return None if _locked(handle, fcntl.LOCK_SH) else _number(path) or 0
    finally:
        os.close(handle)


def _locked(handle: int, kind: int) -> bool:
    """Try to lock; True also where the file system has no locks."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise
    return True


def _is_supported(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno in _NO_LOCKS_HERE:
            return False
        raise
    fcntl.flock(handle, fcntl.LOCK_UN)
    return True


def _living(path: Path) -> int | None:
    """The number in the file, where a process of that number lives."""
    number = _number(path)
    return number if number is not None and is_alive(number) else None


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
