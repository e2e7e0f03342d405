"""Slopes that were derived by hand are what MLX's own differentiation of the value gives; empty places count for nothing."""

from __future__ import annotations

import dataclasses
import math

import mlx.core as mx
import numpy as np
import pytest
from fixed_logits import FixedLogits, value_and_slopes

from edgelm.errors import OptionError
from edgelm.tune.objectives.grpo import GRPO, GRPOSettings
from edgelm.tune.objectives.objective import ADVANTAGES, OLD, REFERENCE, Objective, TargetBatch
from edgelm.tune.objectives.registry import OBJECTIVES
from edgelm.tune.objectives.settings import ObjectiveSettings, make_objective

ROWS = FixedLogits(((3, 5), (2, 7), (3, 8), (2, 6)), seed=4)


def batch_for(objective: Objective, rows: FixedLogits = ROWS) -> TargetBatch:
    if objective.data_kind == "rollout":
        advantages = np.broadcast_to([[1.1], [-0.4], [0.3], [-2.0]], rows.log_probs.shape)
        old = rows.log_probs + np.random.default_rng(1).normal(0, 0.4, rows.log_probs.shape)
        return rows.batch(objective, **{ADVANTAGES: advantages, OLD: old})
    batch = rows.batch(objective)
    if objective.data_kind == "kto":
        labels, totals = mx.array([True, False, False, True]), mx.array([3.0, 4.0])
        return dataclasses.replace(batch, labels=labels, totals=totals)
    return batch


GRPOS = [
    GRPO(GRPOSettings(normaliser=normaliser, importance=importance, beta=0.1))
    for normaliser in ("grpo", "dapo", "dr_grpo")
    for importance in ("token", "sequence")
]
ALL = [make_objective(ObjectiveSettings(loss=name)) for name in OBJECTIVES] + GRPOS


@pytest.mark.parametrize("objective", ALL, ids=lambda objective: type(objective).__name__)
def test_slopes_are_the_derivative_of_the_value(objective: Objective) -> None:
    batch = batch_for(objective)
    log_probs = mx.array(ROWS.log_probs.reshape(-1))
    reference = batch.columns[REFERENCE]
    expected = mx.grad(lambda values: objective(values, reference, batch).loss)(log_probs)
    slopes = objective(log_probs, reference, batch).slopes
    np.testing.assert_allclose(np.array(slopes), np.array(expected), rtol=1e-5, atol=1e-5)
    assert mx.abs(slopes).max().item() > 1e-3


@pytest.mark.parametrize("objective", ALL[1:], ids=lambda objective: type(objective).__name__)
def test_places_without_a_sequence_change_nothing(objective: Objective) -> None:
    batch = batch_for(objective)
    expected, slopes = value_and_slopes(objective, ROWS, batch)
    halves = objective.data_kind == "preference"
    # Pairs get an empty one between; what is single an empty one behind.
    lanes = mx.where(batch.lanes < 2, batch.lanes, batch.lanes + 1) if halves else batch.lanes
    size = 6 if halves else 5
    held = [0, 1, 3, 4] if halves else [0, 1, 2, 3]
    present = mx.array([float(at in held) for at in range(size)])
    labels = mx.concatenate([batch.labels, mx.array([False])]) if batch.labels is not None else None
    wider = dataclasses.replace(batch, lanes=lanes, lane_count=size, present=present, labels=labels)
    got, got_slopes = value_and_slopes(objective, ROWS, wider)
    assert got == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(got_slopes, slopes, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("loss", "expected"), [("dpo", math.log(2)), ("robust", math.log(2)), ("ipo", 25.0), ("hinge", 1.0)]
)
def test_a_network_that_is_its_own_reference_has_the_loss_of_no_margin(loss: str, expected: float) -> None:
    objective = make_objective(ObjectiveSettings(loss=loss))
    batch = ROWS.batch(objective)
    log_probs = mx.array(ROWS.log_probs.reshape(-1))
    value = objective(log_probs, log_probs, batch)
    assert value.loss.item() / 2 == pytest.approx(expected, rel=1e-6)
    assert value.metrics["accuracy"].item() == 0


def test_answers_of_which_nothing_is_trained_still_count_as_answers() -> None:
    objective = GRPO(GRPOSettings(normaliser="grpo"))
    batch = dataclasses.replace(batch_for(objective), present=mx.ones(4))
    masked = dataclasses.replace(batch, weights=batch.weights * (batch.lanes > 0))
    assert objective.denominator(masked).item() == 4


@pytest.mark.parametrize(
    "given",
    [
        {"loss": "sft", "beta": 0.2}, {"loss": "ipo", "label_smoothing": 0.1}, {"loss": "dpo", "gamma": 1.0},
        {"loss": "orpo", "sft_weight": 0.5}, {"loss": "dpo", "desirable_weight": 2.0},
        {"loss": "robust", "label_smoothing": 0.5}, {"loss": "dpo", "beta": 0.0}, {"loss": "ppo"},
    ],
)  # fmt: skip
def test_a_setting_that_the_loss_would_not_read_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        ObjectiveSettings(**given)  # type: ignore[arg-type]
