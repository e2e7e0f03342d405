"""Which rows share a lane, so that lanes are full: packs of one length, as many in every epoch.

Attention with a mask costs T² in a pack of T, and every pair in it is computed, also those of different rows: long packs
pad less and cost more. So lengths are chosen by cost, among those that pad little, and the rows too long for the
best of them go into batches of their own. For a length the number of packs comes first; then the shortest length into
which best-fit decreasing (Johnson 1973: each row, the longest first, into the fullest pack that takes it) puts all
rows, so no pack is an almost empty rest. Knows row sizes only.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgelm.tune.batches.buckets import ROUND_TO, bucket_of, choose_lengths, lanes_of, round_up

MAX_PACK_TOKENS = 2048
"""Attention's backward pass keeps T * T numbers a head where its mask is an array: longer packs cost too much."""

_LENGTHS = (256, 320, 384, 448, 512, 640, 768, 1024, 1536, MAX_PACK_TOKENS)

ATTENTION_KNEE = 1024
"""Positions at which attention costs as much as all the rest of a position. Measured on MLX's CPU backend: 350 for
a network 128 wide, 1,400 for SmolLM2. Wide networks and GPUs have it later; then padding decides, as it should."""

_ENOUGH_PERCENT = 1
"""The share of padding that is little enough: less is no reason to make packs longer, a percent more is."""

_DECIDING = 2000
"""Rows that are laid out in every way."""

_JITTERS = (0.3, 0.1, 0.03, 0.0)
"""How far sizes are disturbed before they are sorted, so that every epoch has other packs; without, they fit."""


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
        """Positions in an epoch."""
        return self.length * self.packs


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of every epoch are laid out."""

    shape: PackShape
    limit: int
    """The longest row that is packed; longer ones go into batches of their own."""
    lengths: tuple[int, ...]
    """The lengths of those batches, rising; none where every row is packed."""


def choose_layout(sizes: Sequence[int], batch_tokens: int, world: int = 1) -> Layout | None:
    """Choose the cheapest of the layouts that pad least, by whole percents; None if every row is above MAX_PACK_TOKENS.

    Args:
        sizes: of the rows. Of many, some decide.
        batch_tokens: positions of one batch at most, unless one row has more.
        world: lanes come in multiples of it.
    """
    ordered = sorted(sizes)
    some = ordered[:: -(-len(ordered) // _DECIDING)]
    best: tuple[int, float] | None = None
    chosen: tuple[int, int] | None = None
    for limit, longest in _tries(ordered, batch_tokens // world):
        if best is not None and best[0] == _ENOUGH_PERCENT and sum(some) * _cost(limit) >= best[1]:
            break  # limits rise: nothing that follows is cheaper
        price = _price(some, _layout(some, limit, longest, batch_tokens, world), batch_tokens, world)
        if best is None or price < best:
            best, chosen = price, (limit, longest)
    return _layout(ordered, *chosen, batch_tokens, world) if chosen else None


def _layout(ordered: Sequence[int], limit: int, longest: int, batch_tokens: int, world: int) -> Layout:
    alone = ordered[bisect_right(ordered, limit) :]
    packed = ordered[: len(ordered) - len(alone)]
    lengths = choose_lengths(alone) if alone else ()
    return Layout(_shape(packed or [limit], longest, batch_tokens, world), limit, lengths)


def _price(ordered: Sequence[int], layout: Layout, batch_tokens: int, world: int) -> tuple[int, float]:
    """Its padding in percent, and what an epoch costs in positions that attend to nothing."""
    lanes = [layout.shape.length] * layout.shape.packs
    alone = ordered[bisect_right(ordered, layout.limit) :]
    counts = Counter(bucket_of(size, layout.lengths) for size in alone)
    waiting = 0
    for bucket, length in enumerate(layout.lengths):
        side_by_side = lanes_of(length, batch_tokens, world)
        full, waiting = divmod(waiting + counts[bucket], side_by_side)
        lanes += [length] * (full * side_by_side)
    lanes += [layout.lengths[-1]] * round_up(waiting, world) if waiting else []
    percent = -(-100 * (sum(lanes) - sum(ordered)) // sum(lanes))
    return max(_ENOUGH_PERCENT, percent), sum(length * _cost(length) for length in lanes)


def _tries(ordered: Sequence[int], lane_tokens: int) -> Iterator[tuple[int, int]]:
    """(longest row that is packed, most positions of a pack), both rising."""
    packable = [size for size in ordered if size <= MAX_PACK_TOKENS]
    if not packable:
        return
    limits = sorted({length for length in _LENGTHS if packable[0] <= length < packable[-1]} | {packable[-1]})
    for limit in limits:
        needed = round_up(limit)
        widest = min(MAX_PACK_TOKENS, max(lane_tokens, needed))
        for length in sorted({needed, widest, *_LENGTHS}):
            if needed <= length <= widest:
                yield limit, length


def _cost(length: int) -> float:
    """Return the cost of one position in a lane so long, next to one that attends to nothing."""
    return 1 + length / ATTENTION_KNEE


def _shape(sizes: Sequence[int], length: int, batch_tokens: int, world: int) -> PackShape:
    """The least padding with packs of at most `length`."""
    total = sum(sizes)
    lanes = lanes_of(length, batch_tokens, world)
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
    """Make the packs of one epoch: every index of `sizes` once, none above `shape.length` in all; some may be empty."""
    packs: list[list[int]] | None = None
    for jitter in _JITTERS:
        order = list(range(len(sizes)))
        rng.shuffle(order)
        keys = [sizes[at] * (1 + jitter * rng.random()) for at in range(len(sizes))]
        order.sort(key=lambda at: -keys[at])
        fitted = _fit([sizes[at] for at in order], shape.length, shape.packs)
        if fitted is not None:
            packs = [[order[at] for at in pack] for pack in fitted]
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
