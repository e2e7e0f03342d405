"""Preferences without a reference: contrastive preference optimization, and SimPO as a case of it.

    cpo        −log σ(β(log πc − log πr)) + α NLL   Xu et al. 2024 (arXiv:2401.08417), α 1
    cpo_hinge  max(0, 1 − β(log πc − log πr)) + α NLL
    cpo_ipo    (āc − ār − 1/(2β))² + α NLL
    simpo      −log σ(β(āc − ār) − γ) + α NLL       Meng et al. 2024 (arXiv:2405.14734), α 0; with an α it is CPO-SimPO

ā is a mean by token. The first and the last take smoothed labels, as in TRL.
"""

from __future__ import annotations

import mlx.core as mx

from edgelm.tune.objectives.preference.dpo import Terms, hinge, smoothed_sigmoid, squared
from edgelm.tune.objectives.preference.pairs import PairLoss


class CPO(PairLoss):
    """The logistic loss of β(log πc − log πr)."""

    def pair_losses(self, chosen: mx.array, rejected: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """Return the loss of the difference and its derivatives."""
        loss, slope = self.of_difference(chosen - rejected)
        return loss, slope, -slope

    def of_difference(self, difference: mx.array) -> Terms:
        """Return the loss of log πc − log πr and its derivative."""
        loss, slope = smoothed_sigmoid(self.beta * difference, self.settings.label_smoothing)
        return loss, self.beta * slope


class CPOHinge(CPO):
    """The hinge of β(log πc − log πr)."""

    def of_difference(self, difference: mx.array) -> Terms:
        """Return max(0, 1 − β · difference) and its derivative."""
        loss, slope = hinge(self.beta * difference)
        return loss, self.beta * slope


class CPOIPO(CPO):
    """The squared distance of āc − ār from 1/(2β)."""

    is_averaged = True

    def of_difference(self, difference: mx.array) -> Terms:
        """Return (difference − 1/(2β))² and its derivative."""
        return squared(difference, self.beta)


class SimPO(CPO):
    """The logistic loss of β(āc − ār) − γ."""

    is_averaged = True

    def of_difference(self, difference: mx.array) -> Terms:
        """Return −log σ(β · difference − γ) and its derivative."""
        logits = self.beta * difference - self.settings.gamma
        loss, slope = smoothed_sigmoid(logits, self.settings.label_smoothing)
        return loss, self.beta * slope
