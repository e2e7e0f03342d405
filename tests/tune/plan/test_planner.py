"""Plans: the most expensive batch counts, what does not fit is refused with what would."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from edgelm.device import Device, detect
from edgelm.errors import FitError
from edgelm.pricing.machine_rates import Rates
from edgelm.tune.plan.planner import TunePlanner
from edgelm.tune.settings import TuneSettings
from tests.tune.conftest import COMMON, make_dataset

CONFIG: dict[str, Any] = {**COMMON, "model_type": "llama", "vocab_size": 1000}


def device(free_bytes: int) -> Device:
    return dataclasses.replace(detect(), available_bytes=free_bytes)


def planner(free_bytes: int = 1 << 34, **options: Any) -> TunePlanner:
    return TunePlanner(CONFIG, {}, Path("made"), device(free_bytes), **options)


def test_a_plan_adds_up() -> None:
    plan = planner().plan(TuneSettings())
    assert plan.verdict == "fits"
    assert plan.positions == 2048 // 512 * 512
    parts = plan.weights_bytes + plan.trainable_bytes + plan.optimizer_bytes + plan.activations_bytes
    assert parts == plan.peak_bytes
    assert plan.trainable_bytes == 4 * plan.trainable_count
    assert plan.optimizer_bytes >= 2 * plan.trainable_bytes


@pytest.mark.slow
def test_recomputing_layers_and_smaller_batches_take_less() -> None:
    plans = [
        planner().plan(TuneSettings.build(**changes)).peak_bytes
        for changes in ({}, {"grad_checkpoint": True}, {"grad_checkpoint": True, "batch_tokens": 512})
    ]
    assert plans == sorted(plans, reverse=True)
    assert plans[2] < plans[0] / 2


@pytest.mark.slow
def test_accumulating_keeps_the_sum() -> None:
    one, four = (planner().plan(TuneSettings.build(accumulate=n)) for n in (1, 4))
    assert four.peak_bytes - one.peak_bytes == one.trainable_bytes


@pytest.mark.slow
def test_the_data_decide_the_batches() -> None:
    data = make_dataset([60] * 10 + [200])
    plan = planner(data=data).plan(TuneSettings.build(batch_tokens=400))
    assert plan.shape.is_packed
    assert plan.shape.lanes * plan.shape.length <= 400
    assert plan.shape.length >= 199
    assert plan.shape.trained_share == pytest.approx(data.target_count / data.token_count)


def test_a_family_that_cannot_be_packed_is_planned_unpacked() -> None:
    config = {
        **CONFIG,
        "model_type": "olmo",
        "mlp_hidden_size": 64,
        "d_model": 32,
        "n_layers": 2,
        "n_heads": 4,
    }
    shapes = TunePlanner(config, {}, Path("made"), device(1 << 34)).shapes(TuneSettings())
    assert [shape.is_packed for shape in shapes] == [False]


@pytest.mark.slow
def test_what_does_not_fit_is_refused_with_what_would() -> None:
    plain = planner().plan(TuneSettings()).peak_bytes
    less = planner().plan(TuneSettings.build(grad_checkpoint=True, batch_tokens=512)).peak_bytes
    tight = planner(free_bytes=(plain + less) // 2)
    proposal = tight.propose(TuneSettings())
    assert proposal is not None
    assert proposal.verdict != "does not fit"
    assert proposal.settings.loop.grad_checkpoint
    with pytest.raises(FitError, match=r"training needs .* at its peak .* safe to use here") as refused:
        tight.require_fit(TuneSettings())
    assert f"--batch-tokens {proposal.settings.loop.batch_tokens} --grad-checkpoint --rank 8 needs" in str(
        refused.value.hint
    )


@pytest.mark.slow
def test_nothing_fits_into_nothing() -> None:
    with pytest.raises(FitError) as refused:
        planner(free_bytes=1000).require_fit(TuneSettings.build(batch_tokens=512))
    assert "no batch is small enough" in str(refused.value.hint)


def test_a_first_step_corrects_the_plan() -> None:
    plan = planner().plan(TuneSettings())
    assert plan.corrected(plan.budget_bytes + 1).verdict == "does not fit"
    assert plan.corrected(plan.budget_bytes // 2).peak_bytes == plan.budget_bytes // 2


def test_time_grows_with_the_data() -> None:
    plan = planner().plan(TuneSettings())
    rates = Rates(1e9, 2e9, 4e9)
    one, ten = (plan.seconds(positions, rates) for positions in (1000, 10_000))
    assert ten == pytest.approx(10 * one)
    work = plan.work
    step_s = (work.flops + work.moved_bytes / 2 + work.exponentials / 4) / 1e9
    assert one == pytest.approx(step_s * 1000 / plan.positions)
