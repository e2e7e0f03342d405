"""Processes that are there, gone, and dead but not buried."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from edgelm.processes import is_alive


def test_alive_dead_and_unburied() -> None:
    assert is_alive(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert is_alive(child.pid)
    child.kill()
    until = time.monotonic() + 10
    while is_alive(child.pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert sys.platform != "linux" or not is_alive(child.pid)
    child.wait()
    assert not is_alive(child.pid)
