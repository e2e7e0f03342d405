"""What quantizing each tensor alone adds to the divergence from the source, good for every budget.

It is measured (`measure.py`) at one width, for embeddings and heads at several. Other widths scale it by the weighted error
of the tensor's weights: to second order a small perturbation's divergence is proportional to its energy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm.quant.apply import quantizable
from edgelm.quant.scheme import Settings, is_affine

MEASURED_BITS, MEASURED_GROUP = 3, 64
OUTER_BITS = (2, 3, 4, 6)
"""Widths at which embeddings and heads are measured."""

WIDTHS = (
    (2, 128), (2, 64), (2, 32), (3, 128), (3, 64), (3, 32), (4, 128), (4, 64), (4, 32), (5, 64), (6, 64), (8, 64),
)  # fmt: skip
"""(bits, group size) that a budget may choose from."""


@dataclass(frozen=True)
class Sensitivity:
    """What quantizing one tensor alone adds to the divergence from the source."""

    kl: dict[int, float]
    """Bits, in groups of 64 (or what its rows allow) → mean KL in nats with this tensor alone quantized."""
    errors: dict[str, float]
    """"bits/group" → weighted relative error of its weights."""

    def expected_kl(self, bits: int, group_size: int, measured_group: int) -> float:
        """Scale the KL, in nats, that (bits, group size) is expected to cost from the nearest measured width."""
        nearest = min(self.kl, key=lambda width: (abs(width - bits), width))
        reference = self.errors[f"{nearest}/{measured_group}"]
        return self.kl[nearest] * self.errors[f"{bits}/{group_size}"] / max(reference, 1e-30)


def group_for(columns: int, group_size: int = MEASURED_GROUP) -> int:
    """Return the largest group up to `group_size` that divides rows of `columns`; 0 if none does."""
    return next((group for group in (128, 64, 32) if group <= group_size and columns % group == 0), 0)


def movable_layers(network: Any, settings: Mapping[str, Settings]) -> dict[str, Settings]:
    """Pick the tensors that a budget may choose for: affine, in groups that their rows allow."""
    modules = quantizable(network)
    return {
        path: layer
        for path, layer in settings.items()
        if is_affine(layer) and group_for(modules[path].weight.shape[-1], 128)
    }


def affine(bits: int, group_size: int) -> Settings:
    """Return the settings of affine codes."""
    return {"group_size": group_size, "bits": bits, "mode": "affine"}
