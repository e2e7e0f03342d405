"""What all losses of pairs share: one number of each answer, a loss of the two, and a supervised term beside it.

An answer's number is the sum over its tokens of log π, or of log π − log π_ref, or its mean by token. A loss says its value and
its two derivatives; a token's slope is that of its answer. The supervised term is the cross-entropy of the chosen answers by
token, over all tokens of the step, as in TRL (`loss_weights` of "sft", `cpo_alpha`; ORPO's has the prompts in it).

Shapes: N targets, P pairs, 2P sequences.
"""

from __future__ import annotations

from abc import abstractmethod

import mlx.core as mx

from edgelm.runs.watched import CHOSEN_TOKEN_LOG_PROB
from edgelm.tune.objectives.objective import (
    IMITATED,
    DataKind,
    MismatchedAnswers,
    Objective,
    ObjectiveValue,
    TargetBatch,
)
from edgelm.tune.objectives.preference.sequences import by_sequence, pairs_of, sizes_of
from edgelm.tune.objectives.settings import ObjectiveSettings


class PairLoss(Objective):
    """A loss of pairs; a subclass says what it makes of the numbers of two answers.

    Args:
        settings: beta, label_smoothing, sft_weight, gamma.
    """

    data_kind: DataKind = "preference"
    is_averaged = False
    """Whether an answer's number is a mean by token."""

    def __init__(self, settings: ObjectiveSettings) -> None:
        self.settings = settings
        self.beta = settings.chosen_beta
        self.sft_weight = settings.chosen_sft_weight
        self.has_totals = self.sft_weight > 0

    @abstractmethod
    def pair_losses(self, chosen: mx.array, rejected: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """Return the loss of each pair, and its derivatives with respect to both numbers, all `[P]`."""

    def denominator(self, batch: TargetBatch) -> mx.array:
        """Count the pairs."""
        return pairs_of(batch).sum()

    def totals(self, batch: TargetBatch, mismatched: MismatchedAnswers | None = None) -> mx.array | None:
        """Count pairs and imitated tokens, where there is a supervised term."""
        if not self.has_totals:
            return None
        return mx.stack([self.denominator(batch), _imitated(batch).sum()])

    def __call__(self, log_probs: mx.array, reference: mx.array | None, batch: TargetBatch) -> ObjectiveValue:
        """Return the loss of the pairs, and the supervised term in their measure."""
        sizes, is_pair = mx.maximum(sizes_of(batch), 1), pairs_of(batch)
        ratios = log_probs if reference is None or not self.needs_reference else log_probs - reference
        scores = by_sequence(ratios * batch.weights, batch)
        numbers = scores / sizes if self.is_averaged else scores
        chosen, rejected = mx.split(numbers, 2)
        losses, of_chosen, of_rejected = self.pair_losses(chosen, rejected)
        by_lane = mx.concatenate([of_chosen * is_pair, of_rejected * is_pair])
        if self.is_averaged:
            by_lane = by_lane / sizes
        loss = (losses * is_pair).sum()
        slopes = by_lane[batch.lanes] * batch.weights
        metrics = self._metrics(log_probs, scores, numbers, is_pair, batch)
        if self.sft_weight:
            imitated = _imitated(batch)
            factor = self._tokens_to_pairs(batch)
            entropy = -(log_probs * imitated).sum()
            loss = loss + factor * entropy
            slopes = slopes - factor * imitated
            metrics["imitation"] = mx.stack([entropy, imitated.sum()])
        return ObjectiveValue(loss, slopes, metrics)

    def _tokens_to_pairs(self, batch: TargetBatch) -> mx.array:
        """What a sum over tokens is multiplied by, so that divided by pairs it is the weighted mean over tokens."""
        totals = batch.totals if batch.totals is not None else self.totals(batch)
        assert totals is not None
        return self.sft_weight * totals[0] / mx.maximum(totals[1], 1)

    def _metrics(
        self, log_probs: mx.array, scores: mx.array, numbers: mx.array, is_pair: mx.array, batch: TargetBatch
    ) -> dict[str, mx.array]:
        margins = mx.subtract(*mx.split(numbers, 2))
        plain = mx.split(by_sequence(log_probs * batch.weights, batch), 2)
        chosen_tokens, _ = mx.split(sizes_of(batch), 2)
        metrics = {
            "margin": (self.beta * margins * is_pair).sum(),
            "accuracy": ((margins > 0) * is_pair).sum(),
            "chosen_log_prob": (plain[0] * is_pair).sum(),
            "rejected_log_prob": (plain[1] * is_pair).sum(),
        }
        tokens = (chosen_tokens * is_pair).sum()
        if self.needs_reference:
            metrics["chosen_gain"] = mx.stack([(mx.split(scores, 2)[0] * is_pair).sum(), tokens])
        else:
            metrics[CHOSEN_TOKEN_LOG_PROB] = mx.stack([(plain[0] * is_pair).sum(), tokens])
        return metrics


def _imitated(batch: TargetBatch) -> mx.array:
    """1 where a supervised term imitates, `[N]`: the trained tokens of chosen answers, unless a column says otherwise."""
    if IMITATED in batch.columns:
        return batch.columns[IMITATED]
    return batch.weights * (batch.lanes < batch.lane_count // 2)
