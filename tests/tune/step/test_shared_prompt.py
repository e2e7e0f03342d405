"""Two answers behind one prompt are as likely as each behind its own, in every family that shares prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from answers import make_pairs, make_reference
from mlx.utils import tree_flatten
from tune_networks import moved_by_one_ulp

from edgelm.errors import UnsupportedError
from edgelm.tune.batches.batcher import BatchPlanner
from edgelm.tune.objectives.settings import ObjectiveSettings, make_objective
from edgelm.tune.settings import OptimizerSettings
from edgelm.tune.step.optimizer import Optimizer
from edgelm.tune.step.shared_prompt import SharedPrompts, can_share, row_caches, shared_caches
from edgelm.tune.step.stepper import Stepper
from tests.tune.conftest import CONFIGS, VOCAB, config_of

ROWS = [(12, 6, 4), (3, 2, 18), (15, 9, 5), (1, 4, 3)]
"""Prompts and answers longer than the window of the families that have one."""
SHARING = [name for name in CONFIGS if can_share(config_of(name))]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARING)
def test_gradients_are_those_of_answers_behind_their_own_prompts(
    name: str, tiny: Callable[[str], tuple[Any, dict[str, Any]]]
) -> None:
    network, config = tiny(name)
    network.train()
    data = make_pairs(ROWS, VOCAB)
    stepper = Stepper(
        network, Optimizer(OptimizerSettings()), make_objective(ObjectiveSettings(loss="dpo", beta=0.5)), chunk=0,
        compiled=False, make_caches=lambda *placing: row_caches(network, config, *placing),
    )  # fmt: skip
    results = []
    for sharing in (False, True):
        batcher = BatchPlanner(data, 256, packing=True, sharing=sharing, reference=make_reference(data))
        (plan,) = batcher.epoch(0)
        batch = batcher.load(plan)
        assert (batch.shared is not None) == sharing
        results.append((stepper.gradients(batch), int(batch.lengths.sum()), batch))
    (own, positions, separate), (shared, fewer, _) = results
    assert fewer == positions - 11 - 2 - 14
    assert shared.loss.item() == pytest.approx(own.loss.item(), rel=1e-5)
    expected, got = dict(tree_flatten(own.tree)), dict(tree_flatten(shared.tree))

    def difference(path: str) -> float:
        return mx.abs(got[path] - expected[path]).max().item()

    far = {path for path in got if difference(path) > 1e-5 * (1 + mx.abs(expected[path]).max().item())}
    if far:  # a network so steep that rounding alone moves it as far

        def gradients() -> dict[str, mx.array]:
            stepper.parameters = network.trainable_parameters()
            return dict(tree_flatten(stepper.gradients(separate).tree))

        moved = moved_by_one_ulp(network, gradients)
        for path in far:
            assert difference(path) < 2 * moved[path], path


def test_scaled_rotations_do_not_share() -> None:
    assert "phi3, longrope" not in SHARING
    assert {"llama", "qwen3", "gemma2", "gemma3_text", "smollm3"} <= set(SHARING)
    llama3 = {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}
    assert can_share({**config_of("llama"), **llama3})
    assert not can_share({**config_of("llama"), "rope_scaling": {"type": "yarn", "factor": 4.0}})


def test_a_layer_that_turns_keys_otherwise_is_refused(
    tiny: Callable[[str], tuple[Any, dict[str, Any]]],
) -> None:
    network, config = tiny("phi3, longrope")
    nothing = SharedPrompts(*(mx.array(np.zeros((1, 4), np.int32)) for _ in range(4)))
    with pytest.raises(UnsupportedError, match="no plain rotation"):
        shared_caches(network, config, nothing)
