"""A run that is killed at any moment and resumed ends with the very weights of one that was not."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from tuning import Zygote, request, write_chats

from edgelm.runs.log import RunLog
from edgelm.tune.request import TuneRequest

pytestmark = pytest.mark.fault
KILLS = 20


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    process = Zygote()
    yield process
    process.close()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> TuneRequest:
    directory = tmp_path_factory.mktemp("base")
    write_checkpoint(directory / "model", num_hidden_layers=2)
    return request(directory / "model", write_chats(directory / "chats.jsonl"))


@pytest.fixture(scope="module")
def undisturbed(zygote: Zygote, asked: TuneRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("undisturbed")
    assert zygote.train(home, asked) == {"status": 0}
    return home


def weights(home: Path) -> bytes:
    return (home / "adapters" / "run" / "adapters.safetensors").read_bytes()


def curves(home: Path) -> list[tuple[int, float]]:
    log = RunLog(home / "runs" / "run")
    log.read_on()
    return log.curves["loss"]


def test_two_runs_are_bit_identical(
    zygote: Zygote, asked: TuneRequest, undisturbed: Path, tmp_path: Path
) -> None:
    assert zygote.train(tmp_path, asked) == {"status": 0}
    assert weights(tmp_path) == weights(undisturbed)


def test_twenty_sigkills_at_random_moments(
    zygote: Zygote, asked: TuneRequest, undisturbed: Path, tmp_path: Path
) -> None:
    """Each of the twenty runs is killed once, after a random number of events, and resumed to its end."""
    moments = random.Random(5)
    for number in range(KILLS):
        home = tmp_path / str(number)
        killed = zygote.train(home, asked, kill_after=moments.randint(1, 20))
        assert killed == {"status": -9}
        assert zygote.train(home, asked) == {"status": 0}
        assert weights(home) == weights(undisturbed), f"run {number}"
        assert curves(home) == curves(undisturbed)
        assert not list((home / "runs" / "run").rglob("*.partial-*"))
        shutil.rmtree(home)


def test_one_run_killed_again_and_again(
    zygote: Zygote, asked: TuneRequest, undisturbed: Path, tmp_path: Path
) -> None:
    moments = random.Random(6)
    for _ in range(5):
        zygote.train(tmp_path, asked, kill_after=moments.randint(2, 4))
    assert zygote.train(tmp_path, asked) == {"status": 0}
    assert weights(tmp_path) == weights(undisturbed)


def test_a_disk_that_fills_up_while_a_checkpoint_is_written(
    zygote: Zygote, asked: TuneRequest, undisturbed: Path, tmp_path: Path
) -> None:
    """RLIMIT_FSIZE stands in for a full disk; the checkpoint before is whole and the run goes on from it."""
    zygote.train(tmp_path, asked, kill_after=12)
    whole = sorted(path.name for path in (tmp_path / "runs" / "run" / "checkpoints").glob("step-*"))
    said = zygote.train(tmp_path, asked, file_limit=60_000)
    assert said["status"] == 1
    assert "cannot write" in said["error"]
    after = sorted(path.name for path in (tmp_path / "runs" / "run" / "checkpoints").glob("step-*"))
    assert after == whole
    assert zygote.train(tmp_path, asked) == {"status": 0}
    assert weights(tmp_path) == weights(undisturbed)


def test_other_data_or_another_base_are_not_a_resume(
    zygote: Zygote, asked: TuneRequest, tmp_path: Path
) -> None:
    data = write_chats(tmp_path / "chats.jsonl")
    mine = request(asked.model, data)
    zygote.train(tmp_path / "home", mine, kill_after=8)
    write_chats(data, 23)
    said = zygote.train(tmp_path / "home", mine)
    assert said["status"] == 1
    assert "changed since run run began" in said["error"]


def test_a_checkpoint_of_a_later_edgelm_is_refused(
    zygote: Zygote, asked: TuneRequest, tmp_path: Path
) -> None:
    zygote.train(tmp_path, asked, kill_after=12)
    for state in (tmp_path / "runs" / "run" / "checkpoints").glob("*/state.json"):
        state.write_text(json.dumps({**json.loads(state.read_text()), "version": 99}))
    assert "go on with the edgelm that began this run" in zygote.train(tmp_path, asked)["error"]
