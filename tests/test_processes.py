"""Processes that are there, gone, and dead but not buried."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from edgelm.processes import is_alive, is_marked_alive, own_mark, tag_of


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


def test_a_later_process_of_the_same_number_is_another() -> None:
    pid = os.getpid()
    tag = tag_of(pid)
    assert tag == tag_of(pid)
    assert is_alive(pid, tag)
    assert not is_alive(pid, "00000000")
    assert tag_of(os.getppid()) not in ("", tag)
    assert is_marked_alive(own_mark())
    assert is_marked_alive(pid), "as it was written before"
    assert not is_marked_alive(f"{pid}-00000000")
    assert is_marked_alive("somebody else's")
