"""Advantages against TRL's own lines, and what a group without variance says."""

from __future__ import annotations

import numpy as np
import pytest

from edgelm.tune.rollouts.advantages import advantages, has_variance

REWARDS = [[1.0, 0.0, 0.5, 0.0], [2.0, 2.0, 2.0, 2.0], [-1.0, None, 3.0, 0.25]]


@pytest.mark.parity
@pytest.mark.parametrize(("scale", "trl"), [("group", "group"), ("step", "batch"), ("none", "none")])
def test_as_trl_computes_them(scale: str, trl: str) -> None:
    torch = pytest.importorskip("torch")
    grpo_trainer = pytest.importorskip("trl.trainer.grpo_trainer")
    rewards = torch.tensor([[float("nan") if each is None else each for each in group] for group in REWARDS])
    centred = rewards - torch.nanmean(rewards, dim=1, keepdim=True)
    deviation = {
        "group": torch.stack([grpo_trainer.nanstd(group) for group in rewards])[:, None],
        "batch": grpo_trainer.nanstd(rewards.flatten()).expand(3, 1),
        "none": None,
    }[trl]
    wanted = centred if deviation is None else centred / (deviation + 1e-4)
    np.testing.assert_allclose(advantages(REWARDS, scale), torch.nan_to_num(wanted).numpy(), atol=1e-6)


def test_equal_rewards_teach_nothing() -> None:
    assert not advantages([[2.0, 2.0]], "group")[0].any()
    assert not has_variance([2.0, None, 2.0])
    assert not has_variance([None, None])
    assert has_variance([2.0, None, 1.0])


def test_a_group_that_nobody_judged_is_worth_nothing() -> None:
    first, second = advantages([[None, None], [1.0, 0.0]], "step")
    assert first.tolist() == [0.0, 0.0]
    assert second[0] > 0 > second[1]
