"""A run of preferences that is killed at any moment, while its reference is computed too, ends as one that was not."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from tuning import Zygote, request, write_judged, write_pairs

from edgelm.runs.log import RunLog

pytestmark = pytest.mark.fault
KILLS = 10
EVENTS = 24
"""Of a run: about a third of them tell of the reference."""


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    process = Zygote()
    yield process
    process.close()


def left_by(home: Path) -> tuple[bytes, bytes, list[tuple[int, float]]]:
    """The adapter, the reference and the curve of a run."""
    log = RunLog(home / "runs" / "run")
    log.read_on()
    reference = home / "runs" / "run" / "reference" / "train.safetensors"
    adapter = home / "adapters" / "run" / "adapters.safetensors"
    return adapter.read_bytes(), reference.read_bytes(), log.curves["loss"]


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_sigkills_at_random_moments(zygote: Zygote, loss: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", num_hidden_layers=2)
    write = write_pairs if loss == "dpo" else write_judged
    asked = request(
        tmp_path / "model",
        write(tmp_path / "rows.jsonl"),
        loss=loss,
        sft_weight=0.5 if loss == "dpo" else None,
    )
    assert zygote.train(tmp_path / "undisturbed", asked) == {"status": 0}
    expected = left_by(tmp_path / "undisturbed")
    moments = random.Random(7)
    for number in range(KILLS):
        home = tmp_path / str(number)
        for _ in range(2):  # the second while what the first left is gone on with
            zygote.train(home, asked, kill_after=moments.randint(1, EVENTS // 2), often=True)
        assert zygote.train(home, asked, often=True) == {"status": 0}
        assert left_by(home) == expected, f"run {number}"
        assert not list((home / "runs" / "run" / "reference").rglob("*.partial*"))
        shutil.rmtree(home)


def test_sigkills_of_a_reward_model_in_training(zygote: Zygote, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", num_hidden_layers=2)
    asked = request(tmp_path / "model", write_pairs(tmp_path / "rows.jsonl"), loss="reward")

    def left(home: Path) -> tuple[bytes, bytes]:
        adapter = home / "adapters" / "run"
        return (adapter / "adapters.safetensors").read_bytes(), (adapter / "score.safetensors").read_bytes()

    assert zygote.train(tmp_path / "undisturbed", asked) == {"status": 0}
    expected = left(tmp_path / "undisturbed")
    moments = random.Random(3)
    for number in range(3):
        home = tmp_path / str(number)
        for _ in range(2):
            zygote.train(home, asked, kill_after=moments.randint(1, EVENTS // 2))
        assert zygote.train(home, asked) == {"status": 0}
        assert left(home) == expected, f"run {number}"
