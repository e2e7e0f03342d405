"""Who stands first: a seeded coin that keeps the balance, and the matches that are shown a second time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

Match = TypeVar("Match")

REPEATED = 0.05
"""The share of matches that are shown again with sides changed, by which a judge's own consistency is known."""


def balanced_sides(count: int, seed: int | str) -> list[bool]:
    """Say for each of a pair's matches whether its first contestant stands first: half of them, in an order of chance."""
    rng = random.Random(f"sides {seed}")
    sides = [at % 2 == 0 for at in range(count)]
    if count % 2 and rng.random() < 0.5:
        sides = [not side for side in sides]
    rng.shuffle(sides)
    return sides


def chosen_repeats(matches: Sequence[Match], seed: int | str, share: float = REPEATED) -> list[Match]:
    """Choose the matches that are shown again: `share` of them, at least one of twenty, in an order of chance."""
    rng = random.Random(f"repeats {seed}")
    return rng.sample(list(matches), round(share * len(matches)))
