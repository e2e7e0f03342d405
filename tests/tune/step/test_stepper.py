"""Gradients do not depend on how rows are cut into batches; bad numbers change nothing."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from tune_networks import lanes, make_batch, make_network, moved_by_one_ulp

from edgelm.tune.batches.batcher import TrainingBatch
from edgelm.tune.settings import OPTIMIZERS, OptimizerSettings
from edgelm.tune.step.optimizer import Optimizer
from edgelm.tune.step.recompute import recomputed
from edgelm.tune.step.stepper import Gradients, Stepper

pytestmark = pytest.mark.slow

SIZES = [5, 23, 9, 14, 3, 17, 21, 8]


def stepper(network: Any, **options: Any) -> Stepper:
    network.train()
    return Stepper(
        network, Optimizer(OptimizerSettings(optimizer=options.pop("optimizer", "adamw"))), **options
    )


def mean(sums: Gradients) -> dict[str, mx.array]:
    return {name: value / sums.denominator for name, value in tree_flatten(sums.tree)}


def largest_difference(left: dict[str, mx.array], right: dict[str, mx.array]) -> float:
    return max(mx.abs(left[name] - right[name]).max().item() for name in left)


@pytest.mark.parametrize("compiled", [True, False])
def test_one_by_eight_is_eight_by_one_is_two_by_four(compiled: bool) -> None:
    step = stepper(make_network(), compiled=compiled)
    whole = make_batch(SIZES)
    at_once = mean(step.gradients(whole))
    for cuts in (1, 4):
        parts = [step.gradients(lanes(whole, *range(i, i + cuts))) for i in range(0, 8, cuts)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        assert largest_difference(at_once, mean(total)) < 1e-6


def test_a_mean_of_means_would_be_another_gradient() -> None:
    """What mlx-lm does: the test above must be able to tell."""
    step = stepper(make_network())
    whole = make_batch(SIZES)
    parts = [mean(step.gradients(lanes(whole, i))) for i in range(8)]
    of_means = {name: sum(part[name] for part in parts) / 8 for name in parts[0]}
    assert largest_difference(mean(step.gradients(whole)), of_means) > 1e-4


def test_padding_and_chunks_do_not_matter() -> None:
    network = make_network("gemma2")
    plain, padded = make_batch(SIZES), make_batch(SIZES, length=40)

    def reference() -> dict[str, mx.array]:
        return mean(stepper(network, chunk=0, compiled=False).gradients(plain))

    bound = max(moved_by_one_ulp(network, reference).values())
    assert largest_difference(reference(), mean(stepper(network).gradients(padded))) < bound < 1e-4


def test_gradient_checkpointing_changes_no_number_and_no_class() -> None:
    network, other = make_network("qwen3_moe"), make_network("qwen3_moe")
    kinds = {type(layer) for layer in network.layers}
    calls = {kind: kind.__call__ for kind in kinds}
    batch = make_batch(SIZES)
    expected = mean(stepper(network).gradients(batch))
    with recomputed(network.layers):
        step = stepper(network)
        assert largest_difference(expected, mean(step.gradients(batch))) < 1e-6
        assert isinstance(network.layers[0], type(other.layers[0]))
        assert {type(layer) for layer in other.layers} == kinds
        assert [name for name, _ in tree_flatten(network.parameters())] == [
            name for name, _ in tree_flatten(other.parameters())
        ]
    assert {type(layer) for layer in network.layers} == kinds
    assert {kind: kind.__call__ for kind in kinds} == calls


def test_gradient_checkpointing_holds_less() -> None:
    network = make_network("llama", num_hidden_layers=8)
    batch = make_batch([256, 256])

    def peak_bytes() -> int:
        step = stepper(network, compiled=False)
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(step.gradients(batch).tree)
        return mx.get_peak_memory() - before

    whole = peak_bytes()
    with recomputed(network.layers):
        assert peak_bytes() < whole / 2


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns_the_batch(optimizer: str) -> None:
    step = stepper(make_network(), optimizer=optimizer)
    batch = make_batch([12, 12])
    losses = [step.update(step.gradients(batch), 3e-3).loss for _ in range(15)]
    assert losses[-1] < losses[0] - 0.2


def test_clipping_bounds_the_norm_of_all_gradients_together() -> None:
    batch = make_batch(SIZES)
    updates = []
    for clip in (0.0, 1e-3):
        step = stepper(make_network(), clip=clip, optimizer="lion")
        # Lion's step is the sign alone: its moment shows what came in.
        result = step.update(step.gradients(batch), 0.0)
        moments = [value for name, value in tree_flatten(step.state) if name.endswith(".m")]
        updates.append(sum(m.square().sum().item() for m in moments) ** 0.5 / 0.01)
        assert result.grad_norm > 0.01
    assert updates[0] == pytest.approx(result.grad_norm, rel=1e-4)
    assert updates[1] == pytest.approx(1e-3, rel=1e-2)


def test_numbers_that_are_not_finite_leave_everything_as_it_was() -> None:
    network = make_network()
    step = stepper(network)
    batch = make_batch([12, 12])
    step.update(step.gradients(batch), 1e-3)
    before = [(name, np.array(value)) for name, value in tree_flatten([step.parameters, step.state])]
    bad = step.gradients(batch)
    result = step.update(Gradients(bad.tree, mx.array(float("nan")), bad.denominator), 1e-3)
    assert not result.is_finite
    for (name, old), (_, new) in zip(before, tree_flatten([step.parameters, step.state]), strict=True):
        assert np.array_equal(old, np.array(new)), name
    assert step.update(step.gradients(batch), 1e-3).is_finite


def test_validation_is_the_same_loss_and_changes_nothing() -> None:
    network = make_network("gemma2")
    step = stepper(network)
    batch = make_batch(SIZES)
    total, tokens = step.loss([batch, batch])
    assert tokens == 2 * batch.target_count
    assert total / tokens == pytest.approx(step.update(step.gradients(batch), 0.0).loss, rel=1e-6)
    assert network.training


def test_a_batch_is_trained_where_its_weights_say() -> None:
    """Another token where nothing is trained changes nothing; where something is trained, it does."""
    step = stepper(make_network())
    batch = make_batch([9])
    changed = batch.targets.copy()
    changed[0, 0] += 1
    same = TrainingBatch(batch.inputs, changed, batch.weights, None, batch.lengths, batch.rows)
    assert largest_difference(mean(step.gradients(batch)), mean(step.gradients(same))) == 0
    changed[0, 8] += 1
    assert largest_difference(mean(step.gradients(batch)), mean(step.gradients(same))) > 1e-3
