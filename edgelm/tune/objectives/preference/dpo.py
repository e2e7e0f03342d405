"""Direct preference optimization and its relatives by the margin Δ = (log π − log π_ref)(chosen) − the same of rejected.

dpo      −log σ(βΔ)                              Rafailov et al. 2023 (arXiv:2305.18290)
         with ε: −(1−ε) log σ(βΔ) − ε log σ(−βΔ) conservative DPO, Mitchell 2023
hinge    max(0, 1 − βΔ)                          Zhao et al. 2023, SLiC (arXiv:2305.10425)
robust   (−(1−ε) log σ(βΔ) + ε log σ(−βΔ)) / (1−2ε)  Chowdhury et al. 2024 (arXiv:2403.00409)
ipo      (Δ̄ − 1/(2β))²                           Azar et al. 2023 (arXiv:2310.12036), Δ̄ of means by token, as in TRL
"""

from __future__ import annotations

import mlx.core as mx

from edgelm.tune.objectives.preference.pairs import PairLoss
from edgelm.tune.objectives.preference.sequences import log_sigmoid

Terms = tuple[mx.array, mx.array]
"""A loss and its derivative with respect to the difference, `[P]`."""


def smoothed_sigmoid(logits: mx.array, smoothing: float) -> Terms:
    """Return −(1−ε) log σ(x) − ε log σ(−x) and its derivative."""
    loss = -(1 - smoothing) * log_sigmoid(logits) - smoothing * log_sigmoid(-logits)
    return loss, smoothing * mx.sigmoid(logits) - (1 - smoothing) * mx.sigmoid(-logits)


def hinge(logits: mx.array) -> Terms:
    """Return max(0, 1 − x) and its derivative."""
    return mx.maximum(1 - logits, 0), -(logits < 1).astype(mx.float32)


def squared(differences: mx.array, beta: float) -> Terms:
    """Return (x − 1/(2β))² and its derivative."""
    error = differences - 1 / (2 * beta)
    return error.square(), 2 * error


class DPO(PairLoss):
    """The logistic loss of βΔ, with smoothed labels if asked for."""

    needs_reference = True

    def pair_losses(self, chosen: mx.array, rejected: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """Return −log σ(βΔ) and its derivatives."""
        loss, slope = self.of_logits(self.beta * (chosen - rejected))
        return loss, self.beta * slope, -self.beta * slope

    def of_logits(self, logits: mx.array) -> Terms:
        """Return the loss of βΔ and its derivative."""
        return smoothed_sigmoid(logits, self.settings.label_smoothing)


class Hinge(DPO):
    """The hinge of βΔ."""

    def of_logits(self, logits: mx.array) -> Terms:
        """Return max(0, 1 − βΔ) and its derivative."""
        return hinge(logits)


class Robust(DPO):
    """DPO without the bias of labels of which a share ε is flipped."""

    def of_logits(self, logits: mx.array) -> Terms:
        """Return the unbiased loss and its derivative."""
        flipped = self.settings.label_smoothing
        loss = -(1 - flipped) * log_sigmoid(logits) + flipped * log_sigmoid(-logits)
        slope = -(1 - flipped) * mx.sigmoid(-logits) - flipped * mx.sigmoid(logits)
        return loss / (1 - 2 * flipped), slope / (1 - 2 * flipped)


class IPO(PairLoss):
    """The squared distance of the margin by token from 1/(2β)."""

    needs_reference = True
    is_averaged = True

    def pair_losses(self, chosen: mx.array, rejected: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """Return (Δ̄ − 1/(2β))² and its derivatives."""
        loss, slope = squared(chosen - rejected, self.beta)
        return loss, slope, -slope
