"""Two networks' logits of one text beside each other. Shapes: T tokens, V vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx


@dataclass(frozen=True)
class LogitsComparison:
    """One network against a reference, over `tokens` positions of one text."""

    tokens: int
    mean_kl: float
    """Mean over positions of KL(reference ‖ other), in nats."""
    top1_agreement: float
    """Share of positions where both rank the same token first."""
    max_relative: float | None = None
    """The largest difference of logits over the largest logit; None where the logits were not kept."""


def compare_logits(reference: mx.array, other: mx.array) -> LogitsComparison:
    """Compare logits `[T, V]` in float32; padding of one vocabulary beyond the other's is left out."""
    vocabulary = min(reference.shape[-1], other.shape[-1])
    reference, other = (logits[:, :vocabulary].astype(mx.float32) for logits in (reference, other))
    log_p, log_q = (logits - mx.logsumexp(logits, axis=-1, keepdims=True) for logits in (reference, other))
    mean_kl: Any = (mx.exp(log_p) * (log_p - log_q)).sum(axis=-1).mean().item()
    same = mx.argmax(log_p, axis=-1) == mx.argmax(log_q, axis=-1)
    top1: Any = mx.mean(same.astype(mx.float32)).item()
    relative: Any = (mx.abs(reference - other).max() / mx.abs(reference).max()).item()
    # Rounding in the last place can take the divergence of equal distributions below zero.
    return LogitsComparison(len(reference), max(0.0, mean_kl), top1, relative)
