"""Sums over the targets of each sequence, and back: what losses of whole answers have in common.

Shapes: N targets, S sequences, of which the first half are the chosen ones of P pairs and the second half the rejected.
"""

from __future__ import annotations

import mlx.core as mx

from edgelm.tune.objectives.objective import TargetBatch


def by_sequence(values: mx.array, batch: TargetBatch) -> mx.array:
    """Add up `[N]` numbers of targets to `[S]`."""
    return mx.zeros(batch.lane_count).at[batch.lanes].add(values)


def sizes_of(batch: TargetBatch) -> mx.array:
    """Count the trained tokens of each sequence `[S]`."""
    return by_sequence(batch.weights, batch)


def present_of(batch: TargetBatch) -> mx.array:
    """Return 1 where there is a sequence, else 0, `[S]` float32."""
    if batch.present is not None:
        return batch.present
    return (sizes_of(batch) > 0).astype(mx.float32)


def pairs_of(batch: TargetBatch) -> mx.array:
    """Return 1 where there is a pair, else 0, `[P]` float32."""
    chosen, rejected = mx.split(present_of(batch), 2)
    return chosen * rejected


def log_sigmoid(values: mx.array) -> mx.array:
    """Return log σ(x), exact at both ends."""
    return mx.minimum(values, 0) - mx.log1p(mx.exp(-mx.abs(values)))
