"""Scales, biases and norms trained against the source's logits, from a calibrated start; codes stay as they are.

The teacher is never in memory: its logits come from hidden states that were kept. The loss is KL(source ‖ student), as it
is measured. Trained values are rounded to the type they are stored in, and only kept if rows that were not trained on
say so. Idea: mlx-lm's DWQ (mlx_lm/quant/dwq.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from edgelm.zoo.tree import number

Row = tuple[mx.array, Callable[[], mx.array]]
"""Token ids [1, T], and what gives the source's logits for them [1, T, V]."""


HELD_PART = 8
"""One row in so many is not trained on, and judges."""


@dataclass(frozen=True)
class Distilled:
    """What training came to."""

    parameters: dict[str, mx.array]
    """Scales, biases and norms by path, as they will be stored; empty where training did not help."""
    kl_before: float
    """KL on the rows that were not trained on, in nats."""
    kl_after: float


def distill(
    network: Any,
    rows: Sequence[Row],
    dtypes: Callable[[str], mx.Dtype],
    *,
    steps: int,
    rate: float,
    on_step: Callable[[int, float], None],
) -> Distilled:
    """Train the student `network` on all `rows` but the last eighth, one a step, and judge it on that eighth.

    Args:
        dtypes: what a parameter is stored in.
        rate: Adam's peak step, in units of each parameter's own mean magnitude; falls to zero.
        on_step: called with the step and its loss.
    """
    held = max(1, len(rows) // HELD_PART)
    trained, judged = list(rows[:-held]) or list(rows), list(rows[-held:])
    start = _flat(network)
    # One rate for all: parameters are expressed in units of their own magnitude.
    units = {path: mx.maximum(mx.abs(value).mean(), 1e-8) for path, value in start.items()}
    before = _mean_kl(network, judged)
    optimizer = optim.Adam(learning_rate=optim.cosine_decay(rate, steps))
    moves = {path: mx.zeros(value.shape) for path, value in start.items()}

    def loss(moved: dict[str, mx.array], ids: mx.array, expected: mx.array) -> mx.array:
        network.update(tree_unflatten([(path, start[path] + moved[path] * units[path]) for path in start]))
        return _kl(expected, network(ids)).mean()

    step_and_gradient = mx.value_and_grad(loss)
    for step in range(steps):
        ids, logits = trained[step % len(trained)]
        value, gradient = step_and_gradient(moves, ids, logits())
        moves = optimizer.apply_gradients(gradient, moves)
        mx.eval(value, moves, optimizer.state)
        on_step(step + 1, number(value))
    stored = {path: (start[path] + moves[path] * units[path]).astype(dtypes(path)) for path in start}
    network.update(tree_unflatten([(path, value.astype(mx.float32)) for path, value in stored.items()]))
    after = _mean_kl(network, judged)
    if not after < before:
        network.update(tree_unflatten(list(start.items())))
        return Distilled({}, before, before)
    mx.eval(stored)
    return Distilled(stored, before, after)


def _flat(network: Any) -> dict[str, mx.array]:
    flat: Any = tree_flatten(tree_map(lambda value: value.astype(mx.float32), network.trainable_parameters()))
    values = dict(flat)
    mx.eval(values)
    return values


def _kl(expected: mx.array, given: mx.array) -> mx.array:
    """KL(expected ‖ found) of logits, by position."""
    expected, given = expected.astype(mx.float32), given.astype(mx.float32)
    expected = expected - mx.logsumexp(expected, axis=-1, keepdims=True)
    given = given - mx.logsumexp(given, axis=-1, keepdims=True)
    return (mx.exp(expected) * (expected - given)).sum(axis=-1)


def _mean_kl(network: Any, rows: Sequence[Row]) -> float:
    values = []
    for ids, logits in rows:
        value = _kl(logits(), network(ids)).mean()
        mx.eval(value)
        values.append(number(value))
    return sum(values) / len(values)
