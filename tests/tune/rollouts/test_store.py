"""Rollouts as files: bit for bit, and what a kill leaves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from edgelm.tune.rollouts.rollout import Rollout, RolloutGroup
from edgelm.tune.rollouts.store import RolloutStore


def group(question: int) -> RolloutGroup:
    rng = np.random.default_rng(question)
    rollouts = tuple(
        Rollout(
            rng.integers(0, 99, 5).astype(np.int32),
            -rng.random(5).astype(np.float32),
            f"né {number}",
            number == 1,
        )
        for number in range(3)
    )
    return RolloutGroup(question, rollouts)


def test_what_was_kept_comes_back_bit_for_bit(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path / "rollouts")
    assert store.groups(4) == {}
    store.add(4, group(7))
    judged = dataclasses.replace(group(7), rewards=(0.1, None, 1.0), parts={"exact": (0.1, None, 1.0)})
    store.add(4, group(8))
    store.add(4, judged)
    kept = RolloutStore(tmp_path / "rollouts").groups(4)
    assert sorted(kept) == [7, 8]
    assert kept[7].rewards == (0.1, None, 1.0)
    assert kept[7].parts == judged.parts
    assert kept[8].rewards is None
    for mine, theirs in zip(group(7).rollouts, kept[7].rollouts, strict=True):
        assert mine.tokens.tobytes() == theirs.tokens.tobytes()
        assert mine.log_probs.tobytes() == theirs.log_probs.tobytes()
        assert (mine.text, mine.is_cut_off) == (theirs.text, theirs.is_cut_off)
    assert store.groups(5) == {}


def test_a_line_that_was_cut_off_is_none_and_takes_no_other_with_it(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path)
    store.add(0, group(1))
    store.add(0, group(2))
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for cut in range(len(whole) // 2 + 1, len(whole) - 1, 97):
        file.write_bytes(whole[:cut])
        assert set(store.groups(0)) == {1}
        store.add(0, group(3))
        assert set(store.groups(0)) == {1, 3}
