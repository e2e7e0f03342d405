"""The loss of a reward model: of two answers, the better one is to score higher.

    −log σ(r_c − r_r − m) + c (r_c + r_r)²

A score r is what a scalar head makes of the hidden state at an answer's last token; Bradley and Terry 1952, as in Ouyang et al.
2022 (arXiv:2203.02155). The margin m is the row's own (Touvron et al. 2023, arXiv:2307.09288, eq. 2), 0 where it says none; c
keeps scores near 0, which the first term leaves open (Eisenstein et al. 2023, arXiv:2312.09244, eq. 2). Both as in TRL's
RewardTrainer.

Shapes: N targets, one of each answer; P pairs.
"""

from __future__ import annotations

import mlx.core as mx

from edgelm.tune.objectives.objective import MARGIN, DataKind, Objective, ObjectiveValue, TargetBatch
from edgelm.tune.objectives.preference.sequences import by_sequence, log_sigmoid, pairs_of
from edgelm.tune.objectives.settings import ObjectiveSettings


class RewardLoss(Objective):
    """The logistic loss of a difference of scores.

    Args:
        settings: center_rewards.
    """

    data_kind: DataKind = "preference"
    scores_answers = True

    def __init__(self, settings: ObjectiveSettings) -> None:
        self._center = settings.center_rewards

    def denominator(self, batch: TargetBatch) -> mx.array:
        """Count the pairs."""
        return pairs_of(batch).sum()

    def __call__(self, log_probs: mx.array, reference: mx.array | None, batch: TargetBatch) -> ObjectiveValue:
        """Return the loss of the pairs; `log_probs` are scores `[N]`."""
        is_pair = pairs_of(batch)
        chosen, rejected = mx.split(by_sequence(log_probs * batch.weights, batch), 2)
        difference = chosen - rejected
        if MARGIN in batch.columns:
            difference = (
                difference - mx.split(by_sequence(batch.columns[MARGIN] * batch.weights, batch), 2)[0]
            )
        sums = chosen + rejected
        losses = -log_sigmoid(difference) + self._center * sums.square()
        slope, drawn = -mx.sigmoid(-difference), 2 * self._center * sums
        by_lane = mx.concatenate([(slope + drawn) * is_pair, (drawn - slope) * is_pair])
        metrics = {
            "margin": ((chosen - rejected) * is_pair).sum(),
            "accuracy": ((chosen > rejected) * is_pair).sum(),
            "reward": mx.stack([(sums * is_pair).sum(), 2 * is_pair.sum()]),
            "chosen_reward": (chosen * is_pair).sum(),
            "rejected_reward": (rejected * is_pair).sum(),
        }
        return ObjectiveValue((losses * is_pair).sum(), by_lane[batch.lanes] * batch.weights, metrics)
