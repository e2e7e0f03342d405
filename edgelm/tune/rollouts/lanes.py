"""Drawn answers in batches of a few shapes: several to a lane, kept apart, where the architecture allows that.

Shapes: B lanes, T positions, S places for sequences.
"""

from __future__ import annotations

from collections.abc import Sequence

_GRANULE = 64
"""Lengths of lanes are multiples of it."""
_COARSE = 4
"""From the fourth multiple on, every second one is left out, and so on: few shapes are compiled."""


def lane_length(longest: int) -> int:
    """Return the length of a lane for sequences of up to `longest` positions: at most a third more."""
    steps = -(-max(1, longest) // _GRANULE)
    stride = 1
    while steps > _COARSE * stride:
        stride *= 2
    return _GRANULE * stride * -(-steps // stride)


def lanes_in(length: int, batch_tokens: int) -> int:
    """Return how many lanes of that length a batch of so many positions has, one at least."""
    return max(1, batch_tokens // length)


def fill_lanes(sizes: Sequence[int], length: int, *, packs: bool) -> list[list[int]]:
    """Put sequences of these sizes into lanes, the longest first, each into the first lane with room; lanes of their indices.

    Args:
        packs: several may share a lane.
    """
    lanes: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda at: (-sizes[at], at)):
        fits = next((at for at, left in enumerate(room) if left >= sizes[index]), None) if packs else None
        if fits is None:
            lanes.append([index])
            room.append(length - sizes[index])
        else:
            lanes[fits].append(index)
            room[fits] -= sizes[index]
    return lanes
