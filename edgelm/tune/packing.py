"""Which rows share a lane, so that lanes are full: packs of one length, as many in every epoch.

The number of packs comes first; then the shortest length into which best-fit decreasing (Johnson 1973: each row, the
longest first, into the fullest pack that takes it) puts all rows. So no pack is an almost empty rest. Knows row
sizes only.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

from edgelm.tune.buckets import ROUND_TO, round_up

MAX_PACK_TOKENS = 2048
"""Attention's backward pass keeps T * T numbers a head where its mask is an array: longer packs cost too much."""

_LENGTHS = (256, 384, 512, 768, 1024, 1536, MAX_PACK_TOKENS)
_ENOUGH = 0.006
"""Share of padding at which a longer pack, whose attention costs more, is not tried."""

_JITTERS = (0.3, 0.1, 0.03, 0.0)
"""How far sizes are disturbed before they are sorted, so that every epoch has other packs; without, they fit."""


_LONG_SHARE = 0.08
"""Of all tokens, at most so many are in rows too long to be packed: a few long ones would make every pack long."""


def longest_packed(sizes: Sequence[int]) -> int:
    """The longest row that is packed with others; longer ones go into batches of their own."""
    total = sum(sizes)
    for length in _LENGTHS:
        if sum(size for size in sizes if size > length) <= _LONG_SHARE * total:
            return length
    return MAX_PACK_TOKENS


@dataclass(frozen=True, slots=True)
class PackShape:
    """One shape for all batches of all epochs."""

    length: int
    """T: positions in a pack."""
    lanes: int
    """B: packs in a batch."""
    packs: int
    """In an epoch; a multiple of `lanes`."""

    @property
    def positions(self) -> int:
        """In an epoch."""
        return self.length * self.packs


def choose_shape(sizes: Sequence[int], batch_tokens: int, world: int = 1) -> PackShape:
    """The shortest packs that waste little; else those that waste least.

    Args:
        sizes: of the rows, none above MAX_PACK_TOKENS.
        batch_tokens: positions of one batch at most, unless one row has more.
        world: lanes come in multiples of it.
    """
    longest, total = round_up(max(sizes)), sum(sizes)
    limit = min(MAX_PACK_TOKENS, max(batch_tokens // world, longest))
    best: PackShape | None = None
    for length in sorted({longest, limit, *_LENGTHS}):
        if not longest <= length <= limit:
            continue
        shape = _shape(sizes, length, batch_tokens, world)
        if best is None or shape.positions < best.positions:
            best = shape
        if best.positions - total <= _ENOUGH * best.positions:
            break
    assert best is not None  # the longest row is always tried
    return best


def _shape(sizes: Sequence[int], length: int, batch_tokens: int, world: int) -> PackShape:
    """The least padding with packs of at most `length`."""
    total = sum(sizes)
    lanes = max(1, batch_tokens // length // world) * world
    packs = -(-total // length)
    lanes = min(lanes, round_up(packs, world))
    packs = round_up(packs, lanes)
    falling = sorted(sizes, reverse=True)
    while True:
        needed = max(round_up(falling[0]), round_up(-(-total // packs)))
        for tried in range(needed, length + 1, ROUND_TO):
            if _fit(falling, tried, packs) is not None:
                return PackShape(tried, lanes, packs)
        packs += lanes


def make_packs(sizes: Sequence[int], shape: PackShape, rng: random.Random) -> list[tuple[int, ...]]:
    """The packs of one epoch: every index of `sizes` once, none above `shape.length` in all; some may be empty."""
    packs: list[list[int]] | None = None
    for jitter in _JITTERS:
        order = list(range(len(sizes)))
        rng.shuffle(order)
        keys = [sizes[at] * (1 + jitter * rng.random()) for at in range(len(sizes))]
        order.sort(key=lambda at: -keys[at])
        found = _fit([sizes[at] for at in order], shape.length, shape.packs)
        if found is not None:
            packs = [[order[at] for at in pack] for pack in found]
            break
    assert packs is not None  # undisturbed, it is how the shape was chosen
    for pack in packs:
        rng.shuffle(pack)
    rng.shuffle(packs)
    return [tuple(pack) for pack in packs]


def _fit(sizes: Sequence[int], length: int, count: int) -> list[list[int]] | None:
    """Indices of `sizes` in `count` packs, each in turn into the fullest that takes it; None if one finds no room."""
    packs: list[list[int]] = [[] for _ in range(count)]
    room = [(length, pack) for pack in range(count)]
    for at, size in enumerate(sizes):
        best = bisect_left(room, (size, -1))
        if best == len(room):
            return None
        left, pack = room.pop(best)
        packs[pack].append(at)
        insort(room, (left - size, pack))
    return packs
