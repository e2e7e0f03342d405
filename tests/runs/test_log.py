"""A run is what its directory says, in one vocabulary of status, whoever asks."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import get_args

import pytest
from furniture import DONE, steps, write_run

from edgelm import paths
from edgelm.errors import NotFoundError
from edgelm.runs.chart import plot_losses
from edgelm.runs.events import Aborted, Checkpointed, to_json
from edgelm.runs.folder import RunFolder, create_run, find_run
from edgelm.runs.log import CURVES, RunLog
from edgelm.runs.shelf import RunShelf
from edgelm.runs.status import Status
from edgelm.store.database import Database, Schema

PAUSED: dict[str, object] = {"event": "paused", "step": 3, "reason": "battery"}
FAILED: dict[str, object] = {"event": "aborted", "error": "the loss of step 4 is not finite"}
BROKEN_OFF: dict[str, object] = {"event": "aborted", "error": None}
STOPPED = {**DONE, "reason": "stopped", "adapter": None}
AGAIN: dict[str, object] = {"event": "started", "step": 2}

STATES: list[tuple[list[dict[str, object]], bool, Status]] = [
    ([], True, "running"),
    ([*steps(3), PAUSED], True, "paused"),
    ([*steps(3), PAUSED, AGAIN], True, "running"),
    ([*steps(3), DONE], False, "finished"),
    ([*steps(3), STOPPED], False, "stopped"),
    ([*steps(3), BROKEN_OFF], False, "stopped"),
    ([*steps(3), FAILED], False, "failed"),
    ([*steps(3), FAILED, AGAIN], True, "running"),
    ([*steps(3), FAILED, AGAIN], False, "interrupted"),
    (steps(3), False, "interrupted"),
]


@pytest.mark.parametrize(("events", "is_alive", "status"), STATES)
def test_a_status_follows_from_the_log_and_the_lock(
    events: list[dict[str, object]], is_alive: bool, status: Status, home: Path
) -> None:
    log = RunLog.open(write_run(home, "one", events))
    log.read_on()
    if not is_alive:
        assert log.status() == status
        return
    with (log.directory / "pid").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(os.getpid()))
        lock.flush()
        assert log.status() == status


def test_every_status_is_reached() -> None:
    assert {status for _, _, status in STATES} == set(get_args(Status))


def test_a_summary_read_without_curves_is_the_same(home: Path) -> None:
    first = {"event": "validated", "step": 0, "loss": 4.0, "best_loss": 4.0, "best_step": 0}
    events = steps(50)
    directory = write_run(home, "one", [events[0], first, *events[1:], FAILED])
    whole, quick = RunLog.open(directory), RunLog.open(directory)
    whole.read_on()
    quick.read_on(curves=False)
    summary = quick.summary()
    assert summary == whole.summary()
    assert (summary.status, summary.step, summary.total_steps) == ("failed", 50, 50)
    assert (summary.first_loss, summary.best_loss, summary.loss) == (4.0, 1.0, 2 / 50)
    assert summary.error == FAILED["error"]
    assert [len(log.curves["loss"]) for log in (whole, quick)] == [50, 1]
    assert set(whole.curves) == set(CURVES)
    assert whole.lines[-1].endswith("failed: the loss of step 4 is not finite")


def test_what_was_aborted_is_written_as_it_is_read(home: Path) -> None:
    folder = create_run("m", "lora", {}, "one")
    folder.append(Aborted("the disk is gone"))
    (log,) = RunShelf().look()
    assert (log.status(), log.summary().error) == ("failed", "the disk is gone")
    assert list(folder.events()) == [Aborted("the disk is gone")]


def test_an_event_after_a_line_that_a_full_disk_cut_is_not_lost(home: Path) -> None:
    folder = create_run("m", "lora", {}, "one")
    events = [Checkpointed(1, "a"), Checkpointed(2, "b"), Checkpointed(3, "c")]
    folder.append(events[0])
    with (folder.path / "events.jsonl").open("a") as log:
        log.write(to_json(events[1])[:-5])
    folder.append(events[2])
    assert list(folder.events()) == [events[0], events[2]]


def test_runs_are_listed_as_they_were_made(home: Path) -> None:
    """The time is in the config: a config that is written again, as when a model is renamed, moves nothing."""
    for name in ("first", "second", "third"):
        create_run("m", "lora", {}, name)
    os.utime(paths.runs() / "first" / "config.json", (4e9, 4e9))
    assert [log.name for log in RunShelf().look()] == ["third", "second", "first"]


@pytest.mark.parametrize("created", ["yesterday", None, 7, "2026-01-02"])
def test_an_odd_time_hides_no_run(created: object, home: Path) -> None:
    create_run("m", "lora", {}, "one")
    (write_run(home, "odd", []) / "config.json").write_text(json.dumps({"created": created}))
    assert {log.name for log in RunShelf().look()} == {"one", "odd"}


def test_a_run_is_found_by_a_part_of_its_name(home: Path) -> None:
    with pytest.raises(NotFoundError, match="no run is named 'x': there are no runs in"):
        find_run("x")
    for name in ("alpha", "alpha-2", "beta"):
        create_run("m", "lora", {}, name)
    assert find_run("alpha").name == "alpha"
    assert find_run("bet").name == "beta"
    with pytest.raises(NotFoundError, match="2 runs are named 'lph'"):
        find_run("lph")
    with pytest.raises(NotFoundError, match="no run is named 'gamma'"):
        find_run("gamma")


@pytest.mark.slow
def test_a_chart_is_drawn_from_the_log(home: Path, tmp_path: Path) -> None:
    for name, events in (("one", [*steps(9), DONE]), ("none", [])):
        plot_losses(write_run(home, name, events), tmp_path / f"{name}.svg")
        assert (tmp_path / f"{name}.svg").stat().st_size


def test_a_database_with_the_tables_of_runs_still_opens(tmp_path: Path) -> None:
    """Runs were listed in it until their logs alone told of them."""
    with Database(
        tmp_path / "edgelm.db", Schema("runs", ("CREATE TABLE runs (name TEXT PRIMARY KEY);",))
    ) as old:
        old.rows("SELECT * FROM runs")
    with Database(tmp_path / "edgelm.db", Schema("notes", ("CREATE TABLE notes (text TEXT);",))) as database:
        assert database.rows("SELECT * FROM notes") == []


def test_a_folder_without_a_config_is_no_run(home: Path) -> None:
    (paths.runs() / "empty").mkdir(parents=True)
    assert RunShelf().look() == []
    with pytest.raises(NotFoundError, match="is no run"):
        _ = RunFolder(paths.runs() / "empty").config
