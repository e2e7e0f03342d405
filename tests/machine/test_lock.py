"""Who holds a lock lives; a number in a file says nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgelm.machine import lock
from edgelm.machine.lock import ProcessLock, holder

HOLD = """
import sys, time
from pathlib import Path
from edgelm.machine.lock import ProcessLock
assert ProcessLock(Path(sys.argv[1])).take() is None
print("held", flush=True)
time.sleep(600)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.stdout.close()
    return process


def test_it_is_held_once_and_free_again(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    assert holder(path) is None
    one, other = ProcessLock(path), ProcessLock(path)
    assert one.take() is None
    assert (holder(path), path.read_text()) == (os.getpid(), str(os.getpid()))
    assert other.take() == os.getpid()
    one.release()
    one.release()
    assert holder(path) is None
    assert other.take() is None
    other.release()


@pytest.mark.fault
def test_a_kill_releases_it_and_a_reused_number_does_not_bring_it_back(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    process = hold(path)
    assert holder(path) == process.pid
    assert ProcessLock(path).take() == process.pid
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert holder(path) is None
    path.write_text(str(os.getpid()))  # as after a reboot: somebody else has the number now
    assert holder(path) is None
    mine = ProcessLock(path)
    assert mine.take() is None
    mine.release()


def test_a_process_that_was_started_meanwhile_does_not_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    mine = ProcessLock(path)
    assert mine.take() is None
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    mine.release()
    assert holder(path) is None
    child.kill()
    child.wait()


def test_those_who_look_are_in_nobodys_way(tmp_path: Path) -> None:
    path, stop = tmp_path / "pid", threading.Event()
    path.write_text("")

    def look() -> None:
        while not stop.is_set():
            holder(path)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(20):
            mine = ProcessLock(path)
            assert mine.take() is None
            mine.release()
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


def test_a_file_system_without_locks_goes_by_the_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    path = tmp_path / "pid"
    mine = ProcessLock(path)
    assert mine.take() is None
    assert holder(path) == os.getpid()
    mine.release()
    assert holder(path) is None


@pytest.mark.fault
def test_without_locks_two_processes_do_not_hold_it_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pid"
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    path.write_text(str(process.pid))

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    mine = ProcessLock(path)
    assert mine.take() == process.pid
    assert path.read_text() == str(process.pid)
    process.kill()
    process.wait()
    assert mine.take() is None
    assert holder(path) == os.getpid()
    mine.release()


@pytest.mark.parametrize("text", ["", "4194399", "not a number", "12 34", "99999999999999999999", "-1", "0"])
def test_what_an_older_version_or_a_reboot_left_is_nobodys(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pid"
    path.write_text(text)
    assert holder(path) is None
    mine = ProcessLock(path)
    assert mine.take() is None
    assert holder(path) == os.getpid()
    mine.release()
