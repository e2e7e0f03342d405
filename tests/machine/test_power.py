"""A job holds one assertion for its time; whoever waits lets it go, and whoever is killed takes it along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgelm.machine import power
from edgelm.processes import is_alive

CAFFEINATE = """#!/bin/sh
# As macOS's: it waits for the process it is given.
echo "$$ $*" >> "{log}"
while kill -0 "$3" 2>/dev/null; do sleep 0.05; done
"""


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a stand-in for caffeinate, on what says it is a Mac."""
    program, log = tmp_path / "caffeinate", tmp_path / "said"
    program.write_text(CAFFEINATE.format(log=log))
    program.chmod(0o755)
    monkeypatch.setattr(power, "CAFFEINATE", program)
    monkeypatch.setattr(power.sys, "platform", "darwin")
    return log


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "that never came"
        time.sleep(0.02)


def started(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def test_idle_sleep_is_held_off_and_never_the_displays(mac: Path) -> None:
    with power.kept_awake():
        assert power.is_held()
        until(lambda: bool(started(mac)))
    assert not power.is_held()
    [(holder, *arguments)] = started(mac)
    assert arguments == ["-i", "-w", str(os.getpid())]
    assert not is_alive(int(holder))


def test_jobs_in_jobs_and_in_threads_share_one(mac: Path) -> None:
    def job() -> None:
        with power.kept_awake():
            pass

    with power.kept_awake(), power.kept_awake():
        thread = threading.Thread(target=job)
        thread.start()
        thread.join()
        assert power.is_held()
        until(lambda: bool(started(mac)))
    assert not power.is_held()
    assert len(started(mac)) == 1


def test_a_job_that_fails_lets_go(mac: Path) -> None:
    with pytest.raises(ZeroDivisionError), power.kept_awake():
        _ = 1 / 0
    assert not power.is_held()


def test_who_waits_for_mains_lets_the_mac_sleep(mac: Path) -> None:
    with power.kept_awake():
        with power.sleep_allowed():
            assert not power.is_held()
        assert power.is_held()
    with power.sleep_allowed(), power.kept_awake():
        assert not power.is_held()


def test_elsewhere_and_without_the_program_nothing_is_started(
    mac: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(power, "CAFFEINATE", tmp_path / "none")
    with power.kept_awake():
        assert not power.is_held()
    broken = tmp_path / "broken"
    broken.write_text("not a program")
    monkeypatch.setattr(power, "CAFFEINATE", broken)
    with power.kept_awake():
        assert not power.is_held()
    monkeypatch.setattr(power.sys, "platform", "linux")
    with power.kept_awake():
        assert not power.is_held()


@pytest.mark.fault
def test_it_ends_with_a_job_that_is_killed(mac: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from edgelm.machine import power;"
        f"power.CAFFEINATE = Path({str(power.CAFFEINATE)!r}); power.sys.platform = 'darwin'\n"
        "with power.kept_awake(): print('working', flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    job = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert job.stdout is not None
    assert job.stdout.readline() == "working\n"
    until(lambda: bool(started(mac)))
    job.send_signal(signal.SIGKILL)
    job.wait()
    job.stdout.close()
    until(lambda: not is_alive(int(started(mac)[0][0])))
