"""The logits of a batch's target positions, whole or a chunk at a time, and what an objective makes of them.

A loss whose slopes are known beforehand is one weighted cross-entropy. Of any other, log-probabilities are computed first,
without a gradient; the objective says its slopes; and the cross-entropy with these as signed weights has its gradient. Where
logits come in chunks, the head then runs twice and still no more than one chunk's logits exist at once.

Shapes: N target positions (padded with weight 0), D hidden, V vocab.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import mlx.core as mx

from edgelm.tune.objectives.objective import REFERENCE, Objective, ObjectiveValue, TargetBatch
from edgelm.tune.step.head import TrainedHead
from edgelm.tune.step.losses import (
    LossSums,
    chunked_cross_entropy,
    chunked_log_probs,
    chunked_loss,
    plain_cross_entropy,
    plain_log_probs,
)

MakeCaches = Callable[..., Any]
"""Segments `[B, T]`, and of pairs that share prompts the arrays of `SharedPositions`, to what is passed to the network as its
cache, to keep packed rows apart (`shared_prompt.row_caches`)."""


class ObjectiveSums(NamedTuple):
    """The loss of a batch in two forms, as `LossSums`, and its metrics, which are sums as well."""

    surrogate: mx.array
    loss: mx.array
    metrics: dict[str, mx.array]


class TargetLogits(Protocol):
    """Logits of N positions and the target of each, however they are held."""

    def cross_entropy(self, weights: mx.array) -> LossSums:
        """Return sum(weights · cross-entropy), to be differentiated; `weights` is `[N]`, of either sign."""
        ...

    def loss(self, weights: mx.array) -> mx.array:
        """Return the same without a gradient."""
        ...

    def log_probs(self) -> mx.array:
        """Return the log-probability `[N]` of each target, in nats; no gradient flows through it."""
        ...


@dataclass(frozen=True)
class WholeLogits(TargetLogits):
    """All logits at once."""

    logits: mx.array
    """`[N, V]`."""
    targets: mx.array
    """`[N]` ids."""

    def cross_entropy(self, weights: mx.array) -> LossSums:
        """Compute it from the logits."""
        return plain_cross_entropy(self.logits, self.targets, weights)

    def loss(self, weights: mx.array) -> mx.array:
        """Compute it from the logits."""
        return self.cross_entropy(weights).loss

    def log_probs(self) -> mx.array:
        """Compute them from the logits."""
        return plain_log_probs(mx.stop_gradient(self.logits), self.targets)


@dataclass(frozen=True)
class ChunkedLogits(TargetLogits):
    """Logits that the head makes of `chunk` hidden states at a time."""

    head: TrainedHead
    hidden: mx.array
    """`[N, D]`."""
    targets: mx.array
    """`[N]` ids."""
    chunk: int

    def cross_entropy(self, weights: mx.array) -> LossSums:
        """Run the head chunk by chunk, forward and back."""
        return chunked_cross_entropy(self.head, self.hidden, self.targets, weights, self.chunk)

    def loss(self, weights: mx.array) -> mx.array:
        """Run the head chunk by chunk."""
        return chunked_loss(self.head, self.hidden, self.targets, weights, self.chunk)

    def log_probs(self) -> mx.array:
        """Run the head chunk by chunk."""
        return chunked_log_probs(self.head, mx.stop_gradient(self.hidden), self.targets, self.chunk)


def target_logits(
    network: Any,
    head: TrainedHead | None,
    arrays: dict[str, mx.array],
    chunk: int,
    make_caches: MakeCaches | None,
) -> TargetLogits:
    """Run the network, or its body where its head can be taken apart, on the arrays of a batch (see `batch_arrays`)."""
    targets = arrays["targets"]
    if head is None:
        caches = _caches(arrays, make_caches)
        return WholeLogits(_at(network(arrays["inputs"], cache=caches), arrays["positions"]), targets)
    return ChunkedLogits(head, target_hidden(head, arrays, make_caches), targets, chunk)


def target_hidden(head: TrainedHead, arrays: dict[str, mx.array], make_caches: MakeCaches | None) -> mx.array:
    """Run the body of a network on the arrays of a batch; returns the hidden states `[N, D]` at its targets."""
    return _at(head.hidden(arrays["inputs"], _caches(arrays, make_caches)), arrays["positions"])


def _caches(arrays: dict[str, mx.array], make_caches: MakeCaches | None) -> Any:
    if "segments" not in arrays:
        return None
    if make_caches is None:
        raise ValueError("a packed batch needs make_caches")
    return make_caches(*_placing(arrays))


def _placing(arrays: dict[str, mx.array]) -> list[mx.array]:
    """What caches are made of: segments, and where prompts are shared their branches, copies and shifts."""
    names = ("segments", "branches", "copies", "shifts")
    return [arrays[name] for name in names if name in arrays]


def _at(values: mx.array, positions: mx.array) -> mx.array:
    """`[B, T, X]` at flat positions `[N]`, as `[N, X]`."""
    return values.reshape(-1, values.shape[-1])[positions]


def objective_sums(objective: Objective, logits: TargetLogits, batch: TargetBatch) -> ObjectiveSums:
    """Return the loss of a batch, to be differentiated, and its metrics."""
    weights = objective.fixed_weights(batch)
    if weights is not None:
        return ObjectiveSums(*logits.cross_entropy(weights), {})
    value = _value(objective, logits, batch)
    surrogate = logits.cross_entropy(mx.stop_gradient(-value.slopes)).surrogate
    return ObjectiveSums(surrogate, mx.stop_gradient(value.loss), dict(value.metrics))


def objective_loss(
    objective: Objective, logits: TargetLogits, batch: TargetBatch
) -> tuple[mx.array, dict[str, mx.array]]:
    """Return the loss of a batch, without a gradient, and its metrics."""
    weights = objective.fixed_weights(batch)
    if weights is not None:
        return logits.loss(weights), {}
    value = _value(objective, logits, batch)
    return value.loss, dict(value.metrics)


def _value(objective: Objective, logits: TargetLogits, batch: TargetBatch) -> ObjectiveValue:
    return objective(logits.log_probs(), batch.columns.get(REFERENCE), batch)
