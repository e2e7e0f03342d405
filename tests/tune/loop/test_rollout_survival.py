"""A run on its own answers that is killed at any moment, and resumed, ends with the very weights of one that was not."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from rollouts import GRPO, write_questions, write_reward
from tuning import Zygote, request

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
    return request(
        directory / "model",
        write_questions(directory / "questions.jsonl"),
        **{**GRPO, "reward": (write_reward(directory / "mine.py"),), "beta": 0.05, "updates_per_round": 2},
        hold_out=0.25,
    )


def weights(home: Path) -> bytes:
    return (home / "adapters" / "run" / "adapters.safetensors").read_bytes()


def test_kills_while_answers_are_drawn_judged_and_trained(
    zygote: Zygote, asked: TuneRequest, tmp_path: Path
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "0"
    assert zygote.train(undisturbed, asked) == {"status": 0}
    rng, kills = random.Random(5), 0
    while kills < KILLS:
        # After an event, and a part of a second later: in the middle of a round, of judging, or of a step.
        said = zygote.train(disturbed, asked, kill_after=rng.randint(0, 1), delay_s=rng.uniform(0, 0.4))
        if said["status"] == 0:  # it was done before; the next kills are another run's
            assert weights(disturbed) == weights(undisturbed)
            disturbed = tmp_path / str(kills)
            continue
        assert said["status"] == -signal.SIGKILL
        kills += 1
    assert zygote.train(disturbed, asked) == {"status": 0}
    assert weights(disturbed) == weights(undisturbed)
