"""The gradient of a pack of preferences is that of its rows alone, for every loss, whatever they share a lane with."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from answers import make_judged, make_pairs, make_reference
from mlx.utils import tree_flatten
from tune_networks import VOCAB, make_network

from edgelm.tune.batches.batcher import BatchPlan, BatchPlanner
from edgelm.tune.data.dataset import Dataset
from edgelm.tune.objectives.registry import OBJECTIVES
from edgelm.tune.objectives.settings import ObjectiveSettings, make_objective
from edgelm.tune.settings import OptimizerSettings
from edgelm.tune.step.optimizer import Optimizer
from edgelm.tune.step.shared_prompt import row_caches
from edgelm.tune.step.stepper import Gradients, Stepper

PAIRS = [(5, 6, 4), (3, 2, 8), (7, 5, 5), (4, 9, 3), (6, 1, 2)]
PREFERENCES = [name for name in OBJECTIVES if name not in ("sft", "grpo")]  # of rows that files hold


def step_gradients(stepper: Stepper, batcher: BatchPlanner, plans: list[BatchPlan]) -> Gradients:
    """As the loop adds them up."""
    batches = [batcher.load(plan) for plan in plans]
    parts = [part for part in map(stepper.totals, batches) if part is not None]
    totals = [sum(numbers) for numbers in zip(*parts, strict=True)] if parts else None
    total: Gradients | None = None
    for batch in batches:
        part = stepper.gradients(batch, totals)
        total = part if total is None else total + part
    assert total is not None
    return total


def far(left: Any, right: Any) -> float:
    pairs = zip(tree_flatten(left), tree_flatten(right), strict=True)
    return max((mx.abs(a - b).max() / (1 + mx.abs(b).max())).item() for (_, a), (_, b) in pairs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        *((loss, "llama-tied") for loss in PREFERENCES if loss != "reward"),  # tests/tune/step/test_answer_scores.py
        *(("dpo", kind) for kind in ("qwen3", "gemma2")), ("kto", "gemma2"), ("orpo", "gemma2"),
    ],
)  # fmt: skip
def test_packed_rows_have_the_gradient_of_single_rows(loss: str, kind: str) -> None:
    """Also where a pair has its prompt once."""
    objective = make_objective(ObjectiveSettings(loss=loss))
    data: Dataset = (
        make_judged([row[:2] for row in PAIRS], VOCAB) if loss == "kto" else make_pairs(PAIRS, VOCAB)
    )
    network = make_network(kind)
    network.train()
    config = {"model_type": kind.removesuffix("-tied")}
    stepper = Stepper(
        network, Optimizer(OptimizerSettings()), objective, chunk=16, compiled=True,
        make_caches=lambda *placing: row_caches(network, config, *placing),
    )  # fmt: skip
    options: dict[str, Any] = {
        "imitates_prompts": objective.imitates_prompts,
        "reference": make_reference(data) if objective.needs_reference else None,
    }
    packed = BatchPlanner(data, 128, packing=True, **options)
    plans = [plan for plan in packed.epoch(0) if plan.is_packed]
    assert max(len(plan.rows) for plan in plans) > 2
    alone = BatchPlanner(data, 64, **options)
    singles = [BatchPlan(((row,),), 24) for row in range(len(data))]
    shared = BatchPlanner(data, 128, packing=True, sharing=True, **options)
    expected = step_gradients(stepper, alone, singles)
    for batcher in (packed, shared):
        got = step_gradients(stepper, batcher, [*batcher.epoch(0)])
        assert got.denominator.item() == expected.denominator.item() == len(data)
        assert got.loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)
        assert far(got.tree, expected.tree) < 1e-5
        assert far(got.metrics, expected.metrics) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["dpo", "orpo", "kto"])
def test_machines_that_share_batches_have_the_gradient_of_one(loss: str) -> None:
    objective = make_objective(ObjectiveSettings(loss=loss))
    data = make_judged([row[:2] for row in PAIRS], VOCAB) if loss == "kto" else make_pairs(PAIRS, VOCAB)
    network = make_network("llama-tied")
    network.train()
    stepper = Stepper(
        network, Optimizer(OptimizerSettings()), objective, chunk=16, compiled=False,
        make_caches=lambda *placing: row_caches(network, {"model_type": "llama"}, *placing),
    )  # fmt: skip
    reference = make_reference(data) if objective.needs_reference else None
    batcher = BatchPlanner(
        data,
        128,
        packing=True,
        sharing=True,
        world=2,
        imitates_prompts=objective.imitates_prompts,
        reference=reference,
    )
    plans = [*batcher.epoch(0)]
    together = step_gradients(stepper, batcher, plans)
    shares = step_gradients(stepper, batcher, [plan.shard(rank, 2) for plan in plans for rank in range(2)])
    assert shares.denominator.item() == together.denominator.item() == len(data)
    assert far(shares.tree, together.tree) < 1e-5


def test_a_mismatched_answer_is_one_to_another_question() -> None:
    data = make_judged([(4, 3), (5, 2), (4, 6)], VOCAB)
    rows = [row.sequences[0] for row in data]
    for at, other in enumerate(data.mismatched):
        before = rows[at - 1]
        assert other.tokens[: rows[at].prompt_size] == rows[at].tokens[: rows[at].prompt_size]
        assert (
            other.tokens[rows[at].prompt_size :] == before.tokens[before.prompt_size :][: len(other.tokens)]
        )
        assert other.target_count == before.target_count
    twice = Dataset((data[0], data[0], data[1]), "kto")  # type: ignore[arg-type]
    assert twice.mismatched[1].target_count == rows[1].target_count


def test_reference_numbers_stand_at_their_tokens() -> None:
    data = make_pairs(PAIRS, VOCAB)
    reference = make_reference(data)
    for packing, sharing in ((False, False), (True, False), (True, True)):
        batcher = BatchPlanner(data, 64, packing=packing, sharing=sharing, reference=reference)
        for plan in batcher.epoch(1):
            batch = batcher.load(plan)
            at_targets = batch.columns["reference"][batch.weights > 0]
            expected = np.concatenate(
                [reference.answers[number] for number in batcher.sequence_numbers(plan)]
            )
            assert at_targets.tolist() == expected.tolist()
