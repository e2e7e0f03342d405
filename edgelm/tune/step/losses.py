"""Cross-entropy over trained positions only, without ever holding all logits.

Chunks of positions go through the head one after the other, chained by `mx.depends` so that only one chunk's logits
live at a time. Each chunk's gradient with respect to its hidden states is computed at once, in closed form
(softmax − one-hot), so the head is multiplied no more often than without chunks. What is differentiated is a
surrogate whose gradient is that of the loss: sum(hidden · its gradient).

Shapes: N trained positions (padded with weight 0), C positions of a chunk, D hidden, V vocab.
"""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx

from edgelm.tune.step.head import TrainedHead


class LossSums(NamedTuple):
    """A loss in two forms: `surrogate` is differentiated, `loss` is reported, sum(weights · cross-entropy) in nats."""

    surrogate: mx.array
    loss: mx.array


def plain_cross_entropy(logits: mx.array, targets: mx.array, weights: mx.array) -> LossSums:
    """Return the loss of all logits `[N, V]` at once; `targets` and `weights` are `[N]`."""
    loss = (_cross_entropy(logits.astype(mx.float32), targets) * weights).sum()
    return LossSums(loss, loss)


def chunked_cross_entropy(
    head: TrainedHead, hidden: mx.array, targets: mx.array, weights: mx.array, chunk: int
) -> LossSums:
    """Return the loss of hidden states, of which `chunk` have logits at a time.

    Args:
        hidden: `[N, D]`.
        targets: `[N]` ids.
        weights: `[N]` float32, of either sign; 0 leaves a position out.
        chunk: C.
    """
    total = _Total(head.parameters())
    frozen = mx.stop_gradient(hidden)
    for start in range(0, hidden.shape[0], chunk):
        span = slice(start, start + chunk)
        total.add(head, frozen[span], targets[span], weights[span])
    return total.sums(hidden)


def chunked_loss(
    head: TrainedHead, hidden: mx.array, targets: mx.array, weights: mx.array, chunk: int
) -> mx.array:
    """Return sum(weights · cross-entropy) alone, without a gradient; arguments as for `chunked_cross_entropy`."""
    loss = mx.array(0.0)
    for start in range(0, hidden.shape[0], chunk):
        span = slice(start, start + chunk)
        (part,) = mx.depends([hidden[span]], [loss])
        logits = head.logits(part[None])[0].astype(mx.float32)
        loss = loss + (_cross_entropy(logits, targets[span]) * weights[span]).sum()
    return loss


def plain_log_probs(logits: mx.array, targets: mx.array) -> mx.array:
    """Return the log-probability `[N]` of each target under logits `[N, V]`, in nats."""
    return -_cross_entropy(logits.astype(mx.float32), targets)


def chunked_log_probs(head: TrainedHead, hidden: mx.array, targets: mx.array, chunk: int) -> mx.array:
    """Return the log-probability `[N]` of each target, in nats; arguments as for `chunked_cross_entropy`."""
    parts: list[mx.array] = []
    for start in range(0, hidden.shape[0], chunk):
        span = slice(start, start + chunk)
        part = hidden[span]
        if parts:
            (part,) = mx.depends([part], [parts[-1]])
        parts.append(plain_log_probs(head.logits(part[None])[0], targets[span]))
    return mx.concatenate(parts)


class _Total:
    """Sums over the chunks so far."""

    def __init__(self, parameters: list[mx.array]) -> None:
        self._live = parameters
        self._parameters = [mx.stop_gradient(value) for value in parameters]
        self._loss = mx.array(0.0)
        self._hidden_grads: list[mx.array] = []
        self._parameter_grads: list[mx.array] = []

    def add(self, head: TrainedHead, hidden: mx.array, targets: mx.array, weights: mx.array) -> None:
        if self._hidden_grads:
            done = [self._loss, self._hidden_grads[-1], *self._parameter_grads]
            (hidden,) = mx.depends([hidden], done)

        def logits_of(part: mx.array, *parameters: mx.array) -> mx.array:
            return head.logits_with(part[None], parameters)[0]

        logits = logits_of(hidden, *self._parameters)
        loss, slope = _loss_and_slope(logits, targets, weights)
        _, grads = mx.vjp(logits_of, [hidden, *self._parameters], [slope])
        self._loss = self._loss + loss
        self._hidden_grads.append(grads[0])
        earlier = self._parameter_grads or [mx.zeros_like(grad) for grad in grads[1:]]
        self._parameter_grads = [old + new for old, new in zip(earlier, grads[1:], strict=True)]

    def sums(self, hidden: mx.array) -> LossSums:
        slopes = [mx.concatenate(self._hidden_grads), *self._parameter_grads]
        pairs = zip([hidden, *self._live], slopes, strict=True)
        surrogate = sum(
            ((value * mx.stop_gradient(slope)).astype(mx.float32).sum() for value, slope in pairs),
            mx.array(0.0),
        )
        return LossSums(surrogate, mx.stop_gradient(self._loss))


def _loss_and_slope(logits: mx.array, targets: mx.array, weights: mx.array) -> tuple[mx.array, mx.array]:
    """The weighted loss of a chunk, and its gradient with respect to the logits."""
    scores = logits.astype(mx.float32)
    peak = scores.max(axis=-1, keepdims=True)  # [C, 1]
    chosen = mx.take_along_axis(scores, targets[:, None], axis=-1)
    # Exponentials cost more than anything else here, so they are taken once, for the loss and for its slope.
    exps = mx.exp(scores - peak)
    total = exps.sum(axis=-1, keepdims=True)
    loss = ((mx.log(total) + peak - chosen)[:, 0] * weights).sum()
    slope = exps * (weights[:, None] / total)
    slope = slope.at[mx.arange(targets.shape[0]), targets].subtract(weights)
    return loss, slope.astype(logits.dtype)


def _cross_entropy(scores: mx.array, targets: mx.array) -> mx.array:
    chosen = mx.take_along_axis(scores, targets[:, None], axis=-1)[:, 0]
    return mx.logsumexp(scores, axis=-1) - chosen
