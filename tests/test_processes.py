"""Processes that are there, gone, and dead but not buried."""

from __future__ import annotations

import os
import subprocess
import sys

from waiting import wait_for

from edgelm.processes import is_alive, is_marked_alive, own_mark, tag_of


def test_alive_dead_and_unburied() -> None:
    assert is_alive(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    assert is_alive(child.pid)
    child.kill()
    if sys.platform == "linux":  # where the unburied are told apart
        wait_for(lambda: not is_alive(child.pid), "its death")
    child.wait()
    assert not is_alive(child.pid)


def test_a_later_process_of_the_same_number_is_another() -> None:
    pid = os.getpid()
    tag = tag_of(pid)
    assert tag == tag_of(pid)
    assert is_alive(pid, tag)
    assert not is_alive(pid, "00000000")
    # The parent may have begun in the same tick of the clock; the first process has not.
    assert tag_of(1) not in ("", tag)
    assert is_marked_alive(own_mark())
    assert is_marked_alive(pid), "as it was written before"
    assert not is_marked_alive(f"{pid}-00000000")
    assert is_marked_alive("somebody else's")
