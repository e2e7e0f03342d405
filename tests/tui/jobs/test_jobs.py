"""Jobs in child processes: what they print, one at a time, and what becomes of them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from app_driver import fake_job_command
from fake_hub import FakeHub

from edgelm.errors import NetworkError
from edgelm_tui.jobs.child import main
from edgelm_tui.jobs.manager import JobManager, child_command
from edgelm_tui.jobs.process import ChildProcess


def wait(is_so: Callable[[], bool]) -> None:
    """For as long as it takes; what never comes is ended by the suite's own limit."""
    while not is_so():
        time.sleep(0.01)


def run(manager: JobManager, is_so: Callable[[], bool]) -> None:
    wait(lambda: (bool(manager.tick()) and is_so()) or is_so())


def test_jobs_run_one_after_another() -> None:
    manager = JobManager(fake_job_command)
    first = manager.add("convert", "one", {"source": "slow"})
    second = manager.add("convert", "two", {"source": "quick"})
    assert manager.add("convert", "one again", {"source": "slow"}) is first
    run(manager, lambda: first.done > 2)
    assert (first.state, second.state) == ("running", "waiting")
    assert "Downloading" in manager.status()
    manager.cancel(second)
    assert second.state == "cancelled"
    manager.cancel(first)
    run(manager, lambda: first.state == "cancelled")
    manager.retry(second)
    run(manager, lambda: second.state == "done")
    assert second.result["name"] == "made"
    manager.close()


@pytest.mark.slow
def test_the_real_child_reports_an_error_as_an_event(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", json.dumps({"source": "/no/such/model"})]) == 1
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert event["event"] == "error"
    assert "/no/such/model" in event["message"]


def test_the_real_child_pulls(
    fake_hub: FakeHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.fail["api"] = 403
    assert main(["pull", json.dumps({"repo_id": "org/model"})]) == 1
    assert "403" in json.loads(capsys.readouterr().out)["message"]

    def refused(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgelm.library.models.pull", refused)
    assert main(["pull", json.dumps({"repo_id": "org/model"})]) == 130
    assert json.loads(capsys.readouterr().out)["message"] == "cancelled"
    assert issubclass(NetworkError, Exception)


def test_the_command_is_this_python() -> None:
    assert child_command("pull", {"repo_id": "a/b"})[:4] == [
        sys.executable,
        "-m",
        "edgelm_tui.jobs.child",
        "pull",
    ]


def test_closing_kills_what_does_not_listen() -> None:
    code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('{}', flush=True); time.sleep(60)"
    child = ChildProcess([sys.executable, "-c", code])
    wait(lambda: bool(child.drain()))
    child.close(timeout_s=0.3)
    wait(lambda: child.returncode is not None)
    assert child.returncode == -9


def test_lines_that_are_no_events_are_kept_as_text() -> None:
    child = ChildProcess(
        [sys.executable, "-c", "print('hello'); print('[1]'); import sys; print('oops', file=sys.stderr)"]
    )
    wait(lambda: child.returncode is not None)
    assert child.drain() == [{"event": "text", "text": "hello"}]
    assert child.error_text == "oops"
