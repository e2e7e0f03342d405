"""Group relative policy optimization over advantages that are given: Shao et al. 2024 (arXiv:2402.03300).

    ρ = exp(log π − log π_old)   by token, or exp of its mean over an answer (GSPO, arXiv:2507.18071)
    a token's loss = −min(ρA, clip(ρ, 1−ε, 1+εh)A) + β(e^d − d − 1),  d = log π_ref − log π
    grpo     mean over tokens of an answer, then over answers
    dapo     sum over tokens of the step / their number                       (arXiv:2503.14476, TRL's default)
    dr_grpo  sum over tokens of the step / (answers · longest possible answer) (arXiv:2503.20783)

As in TRL, an answer none of whose tokens is trained (cut off at the longest, say) still counts as an answer. Columns:
`advantages`; `old`, without which ρ is 1 and has its gradient. How answers are sampled, rewarded and grouped is not known here.

Shapes: N targets, S answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from edgelm.options import Options, option
from edgelm.tune.objectives.objective import (
    ADVANTAGES,
    OLD,
    DataKind,
    Objective,
    ObjectiveValue,
    TargetBatch,
)
from edgelm.tune.objectives.preference.sequences import by_sequence, present_of, sizes_of
from edgelm.tune.objectives.settings import ObjectiveSettings


@dataclass(frozen=True)
class GRPOSettings(Options):
    """How policy gradients are clipped, normalised and held near the reference.

    Raises:
        OptionError: a setting outside what it may be.
    """

    normaliser: str = option(
        "dapo", "what the sum over tokens is divided by", choices=("grpo", "dapo", "dr_grpo")
    )
    epsilon: float = option(0.2, "how far below 1 an importance ratio counts", ge=0, lt=1)
    epsilon_high: float | None = option(None, "how far above 1; default as far as below", ge=0)
    beta: float = option(0.0, "weight of the divergence from the reference", ge=0)
    importance: str = option("token", "what an importance ratio is of", choices=("token", "sequence"))
    answer_tokens: int = option(256, "the longest possible answer, by which dr_grpo divides", ge=1)


class GRPO(Objective):
    """The clipped policy gradient of answers with advantages."""

    data_kind: DataKind = "rollout"

    def __init__(self, settings: GRPOSettings | None = None) -> None:
        self._settings = settings or GRPOSettings()
        self.needs_reference = self._settings.beta > 0

    def denominator(self, batch: TargetBatch) -> mx.array:
        """Count tokens for `dapo`, else answers."""
        return batch.weights.sum() if self._settings.normaliser == "dapo" else present_of(batch).sum()

    def __call__(self, log_probs: mx.array, reference: mx.array | None, batch: TargetBatch) -> ObjectiveValue:
        """Return the loss of all tokens."""
        settings, weights = self._settings, batch.weights
        advantages = batch.columns[ADVANTAGES]
        sizes = mx.maximum(sizes_of(batch), 1)
        gained = log_probs - batch.columns.get(OLD, log_probs)
        if settings.importance == "sequence":
            gained = (by_sequence(gained * weights, batch) / sizes)[batch.lanes]
        ratio = mx.exp(gained)
        high = settings.epsilon if settings.epsilon_high is None else settings.epsilon_high
        clipped = mx.clip(ratio, 1 - settings.epsilon, 1 + high)
        losses = -mx.minimum(ratio * advantages, clipped * advantages)
        # Where the clipped one is smaller, nothing follows the network; at a tie both have the same derivative.
        is_cut = clipped * advantages < ratio * advantages
        slopes = mx.where(is_cut, 0.0, -ratio * advantages)
        share = weights * self._share(sizes)[batch.lanes]
        slopes = slopes * share
        if settings.importance == "sequence":
            slopes = (by_sequence(slopes, batch) / sizes)[batch.lanes] * weights
        count = weights.sum()
        metrics = {"clipped": mx.stack([(is_cut * weights).sum(), count])}
        if settings.beta:
            if reference is None:
                raise ValueError("a divergence from the reference needs a reference")
            d = reference - log_probs
            divergence = mx.exp(d) - d - 1
            losses = losses + settings.beta * divergence
            slopes = slopes + settings.beta * (1 - mx.exp(d)) * share
            metrics["kl"] = mx.stack([(divergence * weights).sum(), count])
        return ObjectiveValue((losses * share).sum(), slopes, metrics)

    def _share(self, sizes: mx.array) -> mx.array:
        """What each token of an answer counts, `[S]`."""
        match self._settings.normaliser:
            case "grpo":
                return 1 / sizes
            case "dr_grpo":
                return mx.full(sizes.shape, 1 / self._settings.answer_tokens)
        return mx.ones(sizes.shape)


def grpo_of(settings: ObjectiveSettings) -> GRPO:
    """Make the loss of the settings of a run."""
    return GRPO(
        GRPOSettings(
            normaliser=settings.normaliser,
            epsilon=settings.epsilon,
            epsilon_high=settings.epsilon_high,
            beta=settings.beta or 0.0,
            importance=settings.importance,
            answer_tokens=settings.rollout_tokens,
        )
    )
