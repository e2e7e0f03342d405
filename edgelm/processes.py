"""What other processes of this machine do, as far as the system tells. Knows nothing of edgelm."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

_TAG_DIGITS = 8


def is_alive(pid: int, tag: str = "") -> bool:
    """Return whether there is a process of that number that has not ended; a dead child that nobody has waited for has.

    Args:
        tag: what `tag_of` said of it; a later process of the same number, after a reboot for one, is another.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    if _is_zombie(pid):
        return False
    return not tag or pid == 0 or tag_of(pid) in (tag, "")


def tag_of(pid: int) -> str:
    """Return 8 hexadecimal digits for this life of the process `pid`; "" where the system does not say when it began."""
    began = _own_beginning(pid) if pid == os.getpid() else _beginning(pid)
    return hashlib.sha256(began.encode()).hexdigest()[:_TAG_DIGITS] if began else ""


def own_mark() -> str:
    """Return what names this process in files and tables, for `is_marked_alive` of a later one: `4711-1f2e3d4c`."""
    pid = os.getpid()
    tag = tag_of(pid)
    return f"{pid}-{tag}" if tag else str(pid)


def is_marked_alive(mark: str | int) -> bool:
    """Return whether the process that left this `own_mark` (or a plain number) is alive.

    A mark that is none counts as alive.
    """
    pid, _, tag = str(mark).partition("-")
    return is_alive(int(pid), tag) if pid.isdecimal() else True


@lru_cache(maxsize=1)
def _own_beginning(pid: int) -> str:
    return _beginning(pid)


def _beginning(pid: int) -> str:
    """Return when a process began, as the system writes it: no two processes of one number share it."""
    if sys.platform == "linux":
        fields = _stat(pid).rpartition(")")[2].split()
        boot = _read(Path("/proc/sys/kernel/random/boot_id"))
        return f"{boot} {fields[19]}" if len(fields) > 19 else ""  # starttime, the 22nd field of proc(5)
    command = ["/bin/ps", "-o", "lstart=", "-p", str(pid)]
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        told = subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=False, env=environment
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return " ".join(told.split())


def _is_zombie(pid: int) -> bool:
    # The name, in brackets, may hold anything; the state follows it (proc(5)).
    return _stat(pid).rpartition(")")[2].split()[:1] == ["Z"]


def _stat(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/stat"))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
