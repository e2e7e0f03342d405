"""The scores of a batch's answers, in the place of logits: an objective sees one number of each target either way.

A target's score is what the scalar head (`edgelm.adapters.scoring.head`) makes of the hidden state there. The gradient of a
loss with slopes by score is that of sum(slopes · scores): a cross-entropy's form, with the negated slopes as weights.

Shapes: N target positions (padded with weight 0), D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from edgelm.tune.step.losses import LossSums
from edgelm.tune.step.target_logits import TargetLogits


@dataclass(frozen=True)
class AnswerScores(TargetLogits):
    """The score of each target, which is differentiated."""

    scores: mx.array
    """`[N]` float32."""

    def cross_entropy(self, weights: mx.array) -> LossSums:
        """Return −sum(weights · scores)."""
        loss = -(weights * self.scores).sum()
        return LossSums(loss, loss)

    def loss(self, weights: mx.array) -> mx.array:
        """Return the same without a gradient."""
        return mx.stop_gradient(self.cross_entropy(weights).loss)

    def log_probs(self) -> mx.array:
        """Return the scores, through which no gradient flows."""
        return mx.stop_gradient(self.scores)
