"""Lengths that batches are padded to: few, so that few shapes are compiled, and those that waste least.

Knows row sizes only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import numpy as np

ROUND_TO = 8
"""Positions that lengths come in multiples of."""

MAX_BUCKETS = 8

_MAX_DISTINCT = 512


def round_up(size: int, step: int = ROUND_TO) -> int:
    """Round up to a multiple of `step`, at least one step."""
    return max(step, -(-size // step) * step)


def lanes_of(length: int, batch_tokens: int, world: int = 1) -> int:
    """Count the rows of `length` side by side in one batch: at least one for each of `world` workers, and as many for each."""
    return max(1, batch_tokens // length // world) * world


def choose_lengths(sizes: Sequence[int], limit: int = MAX_BUCKETS) -> tuple[int, ...]:
    """Choose at most `limit` lengths, rising, that pad `sizes` least in all; the last takes the longest.

    Exact for lengths in multiples of 8 (coarser beyond 4,096), by dynamic programming.
    """
    step = round_up(-(-max(sizes) // _MAX_DISTINCT))
    counts = Counter(round_up(size, step) for size in sizes)
    lengths = np.array(sorted(counts))
    rows = np.array([counts[length] for length in lengths.tolist()])
    ends = _cut(_padding(lengths, rows), min(limit, len(lengths)))
    return tuple(int(lengths[end - 1]) for end in ends)


def _padding(lengths: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """[first, last]: of the lengths `first` to `last` - 1 in one bucket; infinite where there are none."""
    before = np.concatenate([[0], np.cumsum(rows)])
    tokens = np.concatenate([[0], np.cumsum(rows * lengths)])
    longest = np.concatenate([[0], lengths])
    padding = (before[None] - before[:, None]) * longest[None] - (tokens[None] - tokens[:, None])
    return np.where(np.tri(len(longest), dtype=bool), np.inf, padding)


def _cut(padding: np.ndarray, buckets: int) -> list[int]:
    """Return where each bucket ends, so that the least is padded."""
    cost, choices = padding[0], []
    for _ in range(buckets - 1):
        total = cost[:, None] + padding
        choices.append(total.argmin(axis=0))
        cost = total.min(axis=0)
    ends = [len(padding) - 1]
    for best in reversed(choices):
        ends.append(int(best[ends[-1]]))
    return sorted(ends)


def bucket_of(size: int, lengths: Sequence[int]) -> int:
    """Find the index of the shortest of `lengths` that takes `size`."""
    return bisect_left(lengths, size)
