"""A loss that sees target log-probabilities only is trained through them exactly: held against autograd on full logits."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from tune_networks import make_batch, make_network

from edgelm.tune.batches.batcher import TrainingBatch
from edgelm.tune.objectives.objective import (
    REFERENCE,
    DataKind,
    Objective,
    ObjectiveValue,
    TargetBatch,
)
from edgelm.tune.objectives.supervised import Supervised
from edgelm.tune.settings import OptimizerSettings
from edgelm.tune.step.optimizer import Optimizer
from edgelm.tune.step.stepper import Stepper

pytestmark = pytest.mark.slow

BETA = 0.3


class ToyPairs(Objective):
    """Make chosen sequences likelier than rejected ones, next to a reference: slopes of both signs, by sequence."""

    data_kind: DataKind = "preference"

    def __call__(self, log_probs: mx.array, reference: mx.array | None, batch: TargetBatch) -> ObjectiveValue:
        assert reference is not None
        gained = mx.zeros(batch.lane_count).at[batch.lanes].add((log_probs - reference) * batch.weights)
        chosen, rejected = mx.split(gained, 2)
        margins = BETA * (chosen - rejected)
        of_margin = -BETA * mx.sigmoid(-margins)
        by_lane = mx.concatenate([of_margin, -of_margin])
        metrics = {"margin": margins.sum(), "accuracy": (margins > 0).sum()}
        return ObjectiveValue(-nn.log_sigmoid(margins).sum(), by_lane[batch.lanes] * batch.weights, metrics)

    def denominator(self, batch: TargetBatch) -> mx.array:
        return mx.array(batch.lane_count / 2)


def pairs(sizes: list[int], seed: int = 0) -> TrainingBatch:
    batch = make_batch(sizes, seed=seed)
    reference = np.random.default_rng(seed).normal(-5, 0.3, batch.inputs.shape).astype(np.float32)
    return dataclasses.replace(batch, columns={REFERENCE: reference})


def stepper(network: Any, objective: Objective, **options: Any) -> Stepper:
    network.train()
    return Stepper(network, Optimizer(OptimizerSettings()), objective, **options)


def expected(network: Any, batch: TrainingBatch) -> tuple[float, dict[str, mx.array]]:
    """The toy's loss and gradients by MLX's own differentiation of its formula over all logits."""
    inputs, targets, weights = (mx.array(value) for value in (batch.inputs, batch.targets, batch.weights))

    def loss(parameters: Any) -> mx.array:
        network.update(parameters)
        log_probs = -nn.losses.cross_entropy(network(inputs), targets)
        gained = ((log_probs - mx.array(batch.columns[REFERENCE])) * weights).sum(axis=1)
        chosen, rejected = mx.split(gained, 2)
        return -nn.log_sigmoid(BETA * (chosen - rejected)).sum()

    parameters = network.trainable_parameters()
    value, gradients = mx.value_and_grad(loss)(parameters)
    network.update(parameters)
    return value.item(), dict(tree_flatten(gradients))


@pytest.mark.parametrize("kind", ["llama", "llama-tied", "gemma2", "qwen3_moe"])
@pytest.mark.parametrize(("chunk", "compiled"), [(0, False), (8, False), (16, True)])
def test_signed_slopes_give_the_gradient_of_the_loss_itself(kind: str, chunk: int, compiled: bool) -> None:
    network, batch = make_network(kind), pairs([11, 17, 9, 12])
    loss, gradients = expected(network, batch)
    step = stepper(network, ToyPairs(), chunk=chunk, compiled=compiled)
    assert step.is_chunked == bool(chunk)
    got = step.gradients(batch)
    assert got.loss.item() == pytest.approx(loss, rel=1e-5)
    assert got.denominator.item() == 2
    for name, gradient in tree_flatten(got.tree):
        assert mx.abs(gradient - gradients[name]).max().item() < 1e-5 * (
            1 + mx.abs(gradients[name]).max().item()
        ), name


def test_sums_of_batches_are_divided_once_and_metrics_with_them() -> None:
    network = make_network()
    step = stepper(network, ToyPairs())
    one, two = pairs([9, 12], 1), pairs([14, 6, 8, 10], 2)
    total = step.gradients(one) + step.gradients(two)
    losses = [step.loss([batch]) for batch in (one, two)]
    result = step.update(total, 1e-3)
    assert result.loss == pytest.approx(sum(loss for loss, _ in losses) / 3, rel=1e-5)
    assert [count for _, count in losses] == [1, 2]
    assert set(result.metrics) == {"margin", "accuracy"}
    assert 0 <= result.metrics["accuracy"] <= 1


def test_a_network_that_is_its_own_reference_has_the_loss_of_a_coin() -> None:
    network, batch = make_network(), make_batch([9, 12, 7, 10])
    inputs, targets = mx.array(batch.inputs), mx.array(batch.targets)
    own = np.array(-nn.losses.cross_entropy(network(inputs), targets))
    step = stepper(network, ToyPairs())
    loss, pair_count = step.loss([dataclasses.replace(batch, columns={REFERENCE: own})])
    assert loss / pair_count == pytest.approx(math.log(2), rel=1e-5)


class CalledSupervised(Supervised):
    """Supervised training by way of log-probabilities, as if its slopes were not known beforehand."""

    def fixed_weights(self, batch: TargetBatch) -> None:  # type: ignore[override]
        return None


def test_what_is_fixed_beforehand_is_what_the_objective_says_when_it_is_called() -> None:
    batch = make_batch([11, 17, 5])
    results = []
    for objective in (Supervised(), CalledSupervised()):
        step = stepper(make_network("gemma2"), objective, chunk=8)
        results.append((step.loss([batch])[0], step.gradients(batch)))
    (loss, fixed), (other, called) = results
    assert other == pytest.approx(loss, rel=1e-6)
    for (name, left), (_, right) in zip(tree_flatten(fixed.tree), tree_flatten(called.tree), strict=True):
        assert mx.abs(left - right).max().item() < 1e-6, name
