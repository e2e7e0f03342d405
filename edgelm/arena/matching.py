"""Which answers are held beside each other, on which side, in which order, and which pairs come a second time.

All of it follows from the arena's seed and is laid down before the first vote; only ids are drawn. Knows no database.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from edgelm.arena.arena_store import new_id
from edgelm.arena.pairing.sides import balanced_sides, chosen_repeats
from edgelm.arena.records import MatchRecord, RoundHead, Slot
from edgelm.arena.self_naming import names_itself

REPEAT_AFTER = 8
"""Matches between a pair and its repetition, where there are as many."""


def matches_of(
    arena: RoundHead, names: Sequence[str], slots: Sequence[Slot], texts: Mapping[str, str]
) -> list[MatchRecord]:
    """Make the matches of an arena: every pair of contestants on every prompt that both answered.

    Args:
        names: the contestants.
        slots: their answers.
        texts: what the answers say, by key.

    Returns:
        Matches, repetitions last.
    """
    by_place = {(slot.contestant, slot.prompt): slot for slot in slots}
    prompts = sorted({slot.prompt for slot in slots})
    made: list[MatchRecord] = []
    for one, other in combinations(names, 2):
        shared = [p for p in prompts if (one, p) in by_place and (other, p) in by_place]
        sides = balanced_sides(len(shared), f"{arena.seed} {one} {other}")
        for prompt, straight in zip(shared, sides, strict=True):
            pair = by_place[one, prompt], by_place[other, prompt]
            first, second = pair if straight else pair[::-1]
            made.append(_match(first, second, names, texts))
    random.Random(f"order {arena.seed}").shuffle(made)
    made = [replace(match, place=float(at)) for at, match in enumerate(made)]
    asked = [match for match in made if not match.identical]
    return [*made, *_repeats(arena, asked)]


def _match(first: Slot, second: Slot, names: Sequence[str], texts: Mapping[str, str]) -> MatchRecord:
    said = texts[first.answer], texts[second.answer]
    return MatchRecord(
        id=new_id(),
        first=first,
        second=second,
        repeats=None,
        place=0.0,
        identical=said[0] == said[1],
        names_itself=any(names_itself(text, names) for text in said),
    )


def _repeats(arena: RoundHead, asked: Sequence[MatchRecord]) -> list[MatchRecord]:
    """The matches that come again, sides changed, somewhere behind the first time."""
    rng = random.Random(f"places {arena.seed}")
    end = max((match.place for match in asked), default=0.0) + 1
    again = []
    for match in chosen_repeats(asked, arena.seed):
        earliest = min(match.place + REPEAT_AFTER, end)
        place = rng.uniform(earliest, end)
        again.append(
            MatchRecord(new_id(), match.second, match.first, match.id, place, False, match.names_itself)
        )
    return again
