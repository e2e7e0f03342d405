"""Supervised training: the cross-entropy of the trained tokens, in nats, by token."""

from __future__ import annotations

import mlx.core as mx

from edgelm.tune.objectives.objective import DataKind, Objective, ObjectiveValue, TargetBatch
from edgelm.tune.objectives.settings import ObjectiveSettings


class Supervised(Objective):
    """Imitate the answers: the loss is -sum(w · log p) / sum(w)."""

    data_kind: DataKind = "sft"

    def __init__(self, settings: ObjectiveSettings | None = None) -> None:
        pass

    def __call__(self, log_probs: mx.array, reference: mx.array | None, batch: TargetBatch) -> ObjectiveValue:
        """Return the cross-entropy, summed over trained tokens."""
        return ObjectiveValue(-(batch.weights * log_probs).sum(), -batch.weights)

    def fixed_weights(self, batch: TargetBatch) -> mx.array:
        """Return the weights of the tokens."""
        return batch.weights
