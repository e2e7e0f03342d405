"""Who uses a server that was started for an agent: the last one to leave ends it.

Beside the record of such a server lies a folder with an empty file for each process that uses it. A server that somebody
started by hand, or that is to be kept, has none.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from edgelm.launch.records import RunningServer
from edgelm.processes import is_marked_alive, own_mark


def found_users(server: RunningServer) -> None:
    """Note that `server` was started for its users, and ends with the last of them."""
    _folder(server).mkdir(mode=0o700, exist_ok=True)


def join(server: RunningServer) -> None:
    """Note that this process uses `server`, if that ends with its users."""
    with contextlib.suppress(OSError):
        if _folder(server).is_dir():
            (_folder(server) / own_mark()).touch()


def is_last_to_leave(server: RunningServer) -> bool:
    """Note that this process uses `server` no longer; True where nobody else does, and it was started for its users."""
    folder = _folder(server)
    if not folder.is_dir():
        return False
    (folder / own_mark()).unlink(missing_ok=True)
    if any(is_marked_alive(mark.name) for mark in folder.iterdir()):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _folder(server: RunningServer) -> Path:
    return server.file.with_suffix(".users")
