"""A reward model's gradients are those of its scores, however its pairs are laid out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest
from answers import ORIGIN, make_pairs
from mlx.utils import tree_flatten

from edgelm.adapters.scoring.head import install_score
from edgelm.tune.batches.batcher import BatchPlanner
from edgelm.tune.data.dataset import Dataset
from edgelm.tune.data.records import PreferenceRecord
from edgelm.tune.data.rows import Example, Pair
from edgelm.tune.data.scored import scored
from edgelm.tune.objectives.settings import ObjectiveSettings, make_objective
from edgelm.tune.settings import OptimizerSettings
from edgelm.tune.step.optimizer import Optimizer
from edgelm.tune.step.shared_prompt import row_caches
from edgelm.tune.step.stepper import Stepper
from edgelm.zoo.tree import flat_trainable
from tests.tune.conftest import VOCAB

pytestmark = pytest.mark.slow
MARGINS = (0.0, 0.8, -0.3)


def scored_pairs() -> Dataset:
    """Three pairs, one of whose answers goes on where the other ends."""
    pairs = list(make_pairs([(7, 4, 9), (2, 8, 3), (5, 3, 6)], VOCAB).rows)
    chosen = pairs[2].sequences[0]
    longer = Example((*chosen.tokens, 5, 9), (*chosen.trained, True, True), ORIGIN)
    pairs[2] = Pair(chosen, longer, ORIGIN)
    rows = []
    for pair, margin in zip(pairs, MARGINS, strict=True):
        record = PreferenceRecord((), (), (), (), ORIGIN, margin=margin)
        row, problem = scored(pair, record)
        assert problem is None
        rows.append(row)
    return Dataset(tuple(rows), "preference")


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2"])
def test_packed_and_shared_pairs_have_the_gradient_of_scores_that_were_computed_alone(
    name: str, tiny: Callable[[str], tuple[Any, dict[str, Any]]]
) -> None:
    network, config = tiny(name)
    network.freeze()
    network.layers[1].unfreeze()
    install_score(network, mx.random.normal((1, 32)) * 0.1)
    data = scored_pairs()
    settings = ObjectiveSettings(loss="reward", center_rewards=0.05)

    def loss_alone(tree: Any) -> mx.array:
        network.update(tree)
        losses = []
        for row, margin in zip(data.rows, MARGINS, strict=True):
            r = [network.score(network.model(mx.array([each.tokens[:-1]])))[0, -1] for each in row.sequences]
            losses.append(mx.logaddexp(0, margin - r[0] + r[1]) + 0.05 * (r[0] + r[1]).square())
        return mx.stack(losses).mean()

    parameters = network.trainable_parameters()
    loss, tree = mx.value_and_grad(loss_alone)(parameters)
    network.update(parameters)
    expected = dict(tree_flatten(tree))
    assert "score.weight" in expected
    stepper = Stepper(
        network, Optimizer(OptimizerSettings()), make_objective(settings), compiled=False,
        make_caches=lambda *placing: row_caches(network, config, *placing),
    )  # fmt: skip
    for packing, sharing in ((False, False), (True, False), (True, True)):
        (plan,) = BatchPlanner(data, 256, packing=packing, sharing=sharing).epoch(0)
        batch = BatchPlanner(data, 256, packing=packing, sharing=sharing).load(plan)
        assert batch.target_count == 6
        got = stepper.gradients(batch)
        assert got.loss.item() / 3 == pytest.approx(loss.item(), rel=1e-5)
        for path, gradient in tree_flatten(got.tree):
            largest = mx.abs(expected[path]).max().item()
            difference = mx.abs(gradient / 3 - expected[path]).max().item()
            assert difference < 1e-5 * (1 + largest), path
    assert set(expected) == set(flat_trainable(network))


def test_what_answers_have_in_common_is_shared_to_the_token_before_the_last() -> None:
    pairs = scored_pairs().rows
    assert [row.shared_size for row in pairs if isinstance(row, Pair)] == [7, 2, 7]
    assert [dataclasses.astuple(pairs[2])[3], pairs[2].sequences[0].size] == [-0.3, 8]
