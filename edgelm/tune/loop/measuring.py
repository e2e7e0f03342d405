"""What is measured of many batches on all machines: numbers of a whole step beforehand, and the loss of what is held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx

from edgelm.tune.batches.batcher import BatchPlan, TrainingBatch
from edgelm.tune.loop.workers import Workers
from edgelm.tune.step.stepper import Stepper, means_of


class Batches(Protocol):
    """What the loop needs of a `BatchPlanner`."""

    @property
    def batches_per_epoch(self) -> int:
        """The number of batches of every epoch."""
        ...

    def epoch(self, number: int) -> Sequence[BatchPlan]:
        """Plan the batches of an epoch, in order."""
        ...

    def ready(self, plans: Sequence[BatchPlan]) -> Sequence[BatchPlan]:
        """Return the plans to load for one step, which is when data is made that cannot be made before it."""
        ...

    def load(self, plan: BatchPlan) -> TrainingBatch:
        """Make the arrays of a batch."""
        ...

    def step_metrics(self) -> dict[str, float]:
        """Return what is to be watched of the data of the last step that was made ready."""
        ...


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The mean loss of rows that are not trained on."""

    loss: float
    tokens: int
    """Trained tokens of theirs."""
    metrics: dict[str, float]


def find_totals(
    stepper: Stepper, batches: Batches, plans: Sequence[BatchPlan], workers: Workers
) -> tuple[float, ...] | None:
    """Return what the objective has to know of all these batches, on all machines, before it sees one; None if nothing."""
    sums: list[float] | None = None
    for plan in plans:
        part = stepper.totals(batches.load(workers.share(plan)))
        if part is None:
            return None
        sums = part if sums is None else [old + new for old, new in zip(sums, part, strict=True)]
    return None if sums is None else workers.sum_numbers(*sums)


def measure(stepper: Stepper, batches: Batches, workers: Workers) -> HeldOut:
    """Return the loss of all batches of an epoch, on all machines."""
    total, denominator, tokens = 0.0, 0.0, 0
    metrics: dict[str, mx.array] = {}
    plans = batches.epoch(0)
    totals = find_totals(stepper, batches, plans, workers)
    for plan in plans:
        batch = batches.load(workers.share(plan))
        sums = stepper.measure([batch], totals)
        total, denominator = total + sums.loss, denominator + sums.denominator
        metrics = {name: metrics.get(name, 0.0) + value for name, value in sums.metrics.items()}
        tokens += batch.target_count
    total, denominator, trained = workers.sum_numbers(total, denominator, tokens)
    means = means_of(workers.sum_arrays(metrics), denominator)
    return HeldOut(total / max(denominator, 1), round(trained), means)
