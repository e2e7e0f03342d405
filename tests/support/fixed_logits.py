"""Fixed logits of a few answers, as MLX's objectives and TRL's trainers read them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mlx.core as mx
import numpy as np

from edgelm.tune.objectives.objective import IMITATED, REFERENCE, Objective, TargetBatch

VOCAB = 13


@dataclass(frozen=True)
class FixedLogits:
    """Rows of `sizes` (prompt tokens, answer tokens), with logits that are far from even."""

    sizes: tuple[tuple[int, int], ...]
    seed: int = 0

    @property
    def count(self) -> int:
        return len(self.sizes)

    @cached_property
    def length(self) -> int:
        return max(map(sum, self.sizes))

    @cached_property
    def ids(self) -> Any:
        return np.random.default_rng(self.seed).integers(0, VOCAB, (self.count, self.length))

    @cached_property
    def logits(self) -> Any:
        """`[S, T, V]`; those of position t are of token t + 1."""
        values = np.random.default_rng(self.seed + 1).normal(0, 1.5, (self.count, self.length, VOCAB))
        return values.astype(np.float32)

    @cached_property
    def reference(self) -> Any:
        """`[S, T - 1]`: near the log-probabilities, as a reference is."""
        noise = np.random.default_rng(self.seed + 2).normal(0, 0.4, (self.count, self.length - 1))
        return (self.log_probs + noise).astype(np.float32)

    @cached_property
    def log_probs(self) -> Any:
        """`[S, T - 1]` of each token after the first."""
        logits = self.logits[:, :-1].astype(np.float64)
        scores = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return np.take_along_axis(scores, self.ids[:, 1:, None], -1)[..., 0].astype(np.float32)

    def mask(self, *, with_prompt: bool = False) -> Any:
        """`[S, T]`: 1 where a token is of the answer, or of the row."""
        at = np.arange(self.length)
        begins = [0 if with_prompt else prompt for prompt, _ in self.sizes]
        ends = [prompt + answer for prompt, answer in self.sizes]
        return np.array([(at >= b) & (at < e) for b, e in zip(begins, ends, strict=True)]).astype(np.int64)

    def batch(self, objective: Objective, **columns: Any) -> TargetBatch:
        """What an objective sees of it."""
        weights = self.mask()[:, 1:].astype(np.float32)
        if objective.imitates_prompts:
            whole = self.mask(with_prompt=True)[:, 1:].astype(np.float32)
            whole[self.count // 2 :] = 0
            columns[IMITATED] = whole
        columns[REFERENCE] = self.reference
        lanes = np.repeat(np.arange(self.count), self.length - 1)
        flat = {name: mx.array(np.asarray(value, np.float32).reshape(-1)) for name, value in columns.items()}
        return TargetBatch(mx.array(weights.reshape(-1)), mx.array(lanes), self.count, None, flat)

    def logit_gradient(self, slopes: Any) -> Any:
        """The gradient `[S, T, V]` of logits that slopes `[S, T - 1]` of log-probabilities make."""
        logits = self.logits[:, :-1].astype(np.float64)
        shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        hot = np.eye(VOCAB)[self.ids[:, 1:]]
        gradient = np.zeros((self.count, self.length, VOCAB))
        gradient[:, :-1] = slopes[..., None] * (hot - shares)
        return gradient


def value_and_slopes(objective: Objective, rows: FixedLogits, batch: TargetBatch) -> tuple[float, Any]:
    """The mean loss, and its slopes `[S, T - 1]`."""
    log_probs = mx.array(rows.log_probs.reshape(-1))
    value = objective(log_probs, batch.columns[REFERENCE], batch)
    count = objective.denominator(batch).item()
    return value.loss.item() / count, np.array(value.slopes).reshape(rows.count, -1) / count
