"""Odds ratio preference optimization: Hong et al. 2024 (arXiv:2403.07691).

    NLL(chosen, prompt included) − β log σ(logodds(chosen) − logodds(rejected)),  logodds = ā − log(1 − eᵃ̄)

ā is an answer's mean log-probability by token. As in TRL, the supervised term imitates the prompts as well, all but their first
token.
"""

from __future__ import annotations

import mlx.core as mx

from edgelm.tune.objectives.preference.pairs import PairLoss
from edgelm.tune.objectives.preference.sequences import log_sigmoid

_CERTAIN = -1e-7
"""The odds of an answer that is certain in float32 are those of one that is nearly."""
_LOG_HALF = -0.6931471805599453


class ORPO(PairLoss):
    """The logistic loss of the difference of log-odds, beside imitation of the chosen answers and their prompts."""

    is_averaged = True
    imitates_prompts = True

    def pair_losses(self, chosen: mx.array, rejected: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """Return −β log σ(the difference of log-odds) and its derivatives."""
        (odds_chosen, slope_chosen), (odds_rejected, slope_rejected) = _log_odds(chosen), _log_odds(rejected)
        difference = odds_chosen - odds_rejected
        slope = -self.beta * mx.sigmoid(-difference)
        return -self.beta * log_sigmoid(difference), slope * slope_chosen, -slope * slope_rejected


def _log_odds(mean: mx.array) -> tuple[mx.array, mx.array]:
    """ā − log(1 − eᵃ̄) and its derivative, 1 / (1 − eᵃ̄)."""
    mean = mx.minimum(mean, _CERTAIN)
    rest = -mx.expm1(mean)
    # Mächler 2012: each form of log(1 − eˣ) is exact on its side of −log 2.
    log_rest = mx.where(mean < _LOG_HALF, mx.log1p(-mx.exp(mean)), mx.log(rest))
    return mean - log_rest, 1 / rest
