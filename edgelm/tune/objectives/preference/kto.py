"""Kahneman-Tversky optimization, of single answers with a verdict: Ethayarajh et al. 2024 (arXiv:2402.01306).

    z = max(0, mean of Δ over mismatched answers), with Δ = log π − log π_ref of an answer; no gradient flows through it
    desirable λD(1 − σ(β(Δ − z))), undesirable λU(1 − σ(β(z − Δ)))

A mismatched answer is one to another prompt, as in TRL, which takes the row before. z is a mean over all rows of a step: of all
its batches and machines, where TRL's is of one batch on all machines; with one batch a step these are the same.
"""

from __future__ import annotations

import mlx.core as mx

from edgelm.tune.objectives.objective import (
    DataKind,
    MismatchedAnswers,
    Objective,
    ObjectiveValue,
    TargetBatch,
)
from edgelm.tune.objectives.preference.sequences import by_sequence, present_of, sizes_of
from edgelm.tune.objectives.settings import ObjectiveSettings


class KTO(Objective):
    """Value gained and lost against the reference, by the verdict on each answer."""

    data_kind: DataKind = "kto"
    needs_reference = True
    has_totals = True

    def __init__(self, settings: ObjectiveSettings) -> None:
        self.beta = settings.chosen_beta
        self.desirable_weight = settings.desirable_weight
        self.undesirable_weight = settings.undesirable_weight

    def denominator(self, batch: TargetBatch) -> mx.array:
        """Count the answers."""
        return present_of(batch).sum()

    def totals(self, batch: TargetBatch, mismatched: MismatchedAnswers | None = None) -> mx.array | None:
        """Add up log π − log π_ref over the mismatched answers, and count them."""
        if mismatched is None:
            raise ValueError("KTO needs mismatched answers")
        gained = (mismatched.log_probs - mismatched.reference) * mismatched.batch.weights
        return mx.stack([gained.sum(), self.denominator(mismatched.batch)])

    def __call__(self, log_probs: mx.array, reference: mx.array | None, batch: TargetBatch) -> ObjectiveValue:
        """Return the loss of all answers."""
        if reference is None or batch.labels is None or batch.totals is None:
            raise ValueError("KTO needs a reference, labels and the totals of its step")
        z = mx.maximum(batch.totals[0] / mx.maximum(batch.totals[1], 1), 0)
        present = present_of(batch)
        is_good = batch.labels.astype(mx.float32)
        gained = by_sequence((log_probs - reference) * batch.weights, batch)
        sign = 2 * is_good - 1
        weight = (is_good * self.desirable_weight + (1 - is_good) * self.undesirable_weight) * present
        value = mx.sigmoid(self.beta * sign * (gained - z))
        by_lane = -weight * self.beta * sign * value * (1 - value)
        good, bad = is_good * present, (1 - is_good) * present
        metrics = {
            "kl": z * present.sum(),
            "desirable_reward": mx.stack([(self.beta * gained * good).sum(), good.sum()]),
            "undesirable_reward": mx.stack([(self.beta * gained * bad).sum(), bad.sum()]),
            "chosen_gain": mx.stack([(gained * good).sum(), (sizes_of(batch) * good).sum()]),
        }
        return ObjectiveValue((weight * (1 - value)).sum(), by_lane[batch.lanes] * batch.weights, metrics)
