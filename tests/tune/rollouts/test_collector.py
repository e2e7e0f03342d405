"""Rounds on a tiny network: groups drawn side by side, scored as drawn, judged, and not made again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_checkpoint

from edgelm.errors import Interrupted, RewardError
from edgelm.model.load import load
from edgelm.rewards.combined import Rewards, WeightedReward
from edgelm.rewards.functions.given import FunctionReward
from edgelm.runtime.engine import Engine
from edgelm.tune.data.rows import RowOrigin
from edgelm.tune.rollouts.collector import RoundCollector
from edgelm.tune.rollouts.questions import RewardedQuestion
from edgelm.tune.rollouts.sampling import GroupSampler
from edgelm.tune.rollouts.store import RolloutStore
from edgelm.tune.settings import RolloutSettings

pytestmark = pytest.mark.slow

PROMPTS = ([5, 9, 40, 7], [5, 9, 40, 8], [60, 61, 62, 63, 64, 65])


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("base") / "model"
    write_checkpoint(directory, num_hidden_layers=2)
    return load(directory, check_fit=False)


class Counted:
    """A reward that counts its calls: the length of the text."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, completions: Sequence[str]) -> list[float]:
        self.calls += 1
        return [float(len(text)) for text in completions]


def collector(loaded: Any, folder: Path, reward: Any, **settings: Any) -> RoundCollector:
    chosen = RolloutSettings(**{"group_size": 3, **settings})
    engine = Engine(loaded.network, vocab_size=loaded.vocab_size, context_length=loaded.context_length)
    questions = [
        RewardedQuestion(tuple(ids), f"q{at}", {}, RowOrigin("made", at)) for at, ids in enumerate(PROMPTS)
    ]
    sampler = GroupSampler(loaded.network, engine, loaded.tokenizer, loaded.stop_tokens, chosen, 6)
    rewards = Rewards([WeightedReward(1.0, FunctionReward(reward))])
    return RoundCollector(questions, sampler, rewards, RolloutStore(folder), chosen, seed=1)


def never() -> threading.Event:
    return threading.Event()


def test_a_round_is_the_same_again_and_another_is_not(loaded: Any, tmp_path: Path) -> None:
    first = collector(loaded, tmp_path / "a", Counted()).collect(0, [2, 0], never())
    again = collector(loaded, tmp_path / "b", Counted()).collect(0, [2, 0], never())
    other = collector(loaded, tmp_path / "c", Counted()).collect(1, [2, 0], never())
    assert [group.question for group in first.groups] == [2, 0]
    for mine, theirs in zip(first.groups, again.groups, strict=True):
        assert mine.rewards == theirs.rewards
        assert [each.tokens.tolist() for each in mine.rollouts] == [
            each.tokens.tolist() for each in theirs.rollouts
        ]
    assert [each.tokens.tolist() for each in other.groups[0].rollouts] != [
        each.tokens.tolist() for each in first.groups[0].rollouts
    ]
    assert len({tuple(each.tokens.tolist()) for each in first.groups[0].rollouts}) > 1
    assert sum(map(abs, first.advantages[0])) > 0


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "top_k": 20, "top_p": 0.9}])
def test_log_probs_are_those_of_what_was_drawn_from(
    loaded: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    chosen = RolloutSettings(**settings)
    made = collector(loaded, tmp_path, Counted(), **settings).collect(0, [0], never())
    for rollout in made.groups[0].rollouts:
        ids = [*PROMPTS[0], *rollout.tokens.tolist()]
        logits = loaded.network(mx.array([ids[:-1]]))[0, len(PROMPTS[0]) - 1 :].astype(mx.float32)
        wanted = np.array(
            [_drawn(np.array(row), chosen)[token] for row, token in zip(logits, rollout.tokens, strict=True)]
        )
        np.testing.assert_allclose(rollout.log_probs, wanted, atol=2e-5)


def _drawn(logits: Any, settings: RolloutSettings) -> Any:
    """Log-probabilities after temperature, top-k, and top-p of what top-k leaves, in float64."""
    scaled = logits.astype(np.float64) / settings.temperature
    order = np.argsort(-scaled)[: settings.top_k or None]
    probs = np.exp(scaled[order] - scaled[order[0]])
    probs /= probs.sum()
    kept = np.cumsum(probs) - probs < settings.top_p
    filtered = np.full(len(logits), -np.inf)
    filtered[order[kept]] = np.log(probs[kept] / probs[kept].sum())
    return filtered


def test_what_was_drawn_and_judged_is_not_made_again(loaded: Any, tmp_path: Path) -> None:
    made = collector(loaded, tmp_path, Counted()).collect(0, [0, 1, 2], never())
    store = RolloutStore(tmp_path)
    kept = store.groups(0)
    file = tmp_path / "round-000000.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    # Killed while judging: all groups were drawn, one of them judged.
    file.write_bytes(b"".join(lines[:4]))
    counted = Counted()
    again = collector(loaded, tmp_path, counted).collect(0, [0, 1, 2], never())
    assert counted.calls == 2
    assert [group.rewards for group in again.groups] == [group.rewards for group in made.groups]
    assert {at: group.rewards for at, group in store.groups(0).items()} == {
        at: group.rewards for at, group in kept.items()
    }


def test_a_kill_while_answers_are_kept_changes_no_bit(loaded: Any, tmp_path: Path) -> None:
    collector(loaded, tmp_path, Counted()).collect(0, [0, 1, 2], never())
    file = tmp_path / "round-000000.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole.splitlines(keepends=True)[0])
    collector(loaded, tmp_path, Counted()).collect(0, [0, 1, 2], never())
    assert file.read_bytes() == whole.splitlines(keepends=True)[0] + whole


def test_a_reward_that_fails_loses_no_answer(loaded: Any, tmp_path: Path) -> None:
    def broken(completions: Sequence[str]) -> list[float]:
        raise KeyError("colour")

    with pytest.raises(RewardError, match="broken raised KeyError"):
        collector(loaded, tmp_path, broken).collect(0, [0, 1], never())
    assert sorted(RolloutStore(tmp_path).groups(0)) == [0, 1]
    assert loaded.network.training  # what trains it finds it as it was


def test_a_stop_ends_the_round_and_keeps_what_there_is(loaded: Any, tmp_path: Path) -> None:
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Interrupted):
        collector(loaded, tmp_path, Counted()).collect(0, [0, 1], stopped)


def test_groups_without_variance_are_left_out_and_counted(loaded: Any, tmp_path: Path) -> None:
    def of_the_second(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        return [float(at) if prompts[0] == "q1" else 1.0 for at in range(len(completions))]

    made = collector(loaded, tmp_path, of_the_second).collect(0, [0, 1, 2], never())
    assert made.trained == [1]
    assert made.metrics()["alike"] == pytest.approx(2 / 3)
    assert made.metrics()["reward"] == pytest.approx(1.0)
    nothing = collector(loaded, tmp_path / "b", lambda completions: [1.0] * len(completions))
    assert nothing.collect(0, [0, 2], never()).trained == [0, 1]
