"""Votes as the statistics take them, and what else a report says: repetitions, skips, time, answers that name themselves."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm.arena.arena_store import ArenaStore
from edgelm.arena.ratings.consistency import Agreement, agreement
from edgelm.arena.ratings.votes import Outcome, Vote
from edgelm.arena.records import PERSON, Cast, Choice, MatchRecord, RoundHead

_MARKS = re.compile(r"^\s*(?:#{1,6} |[-*+] |\d+[.)] |```|\|)|\*\*[^*\n]+\*\*|`[^`\n]+`", re.MULTILINE)


@dataclass(frozen=True)
class Tallied:
    """All votes of one voter on an arena.

    Attributes:
        contestants: by name, those without a vote too.
        votes: those that say something, and identical answers as ties.
        consistency: of matches judged twice.
        skipped: matches that were skipped.
        self_named: votes on answers of which one names itself.
        median_s: the median time of a vote, in seconds; None without votes.
        planned: matches of each pair that were not skipped, the same for all; None where pairs differ.
    """

    contestants: tuple[str, ...]
    votes: tuple[Vote, ...]
    consistency: Agreement
    skipped: int
    self_named: int
    median_s: float | None
    planned: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return what is said besides the standings, for JSON."""
        return {
            "consistency": self.consistency.as_dict(),
            "skipped": self.skipped,
            "self_named": self.self_named,
            "median_s": self.median_s,
        }


def tally(store: ArenaStore, arena: RoundHead, voter: str = PERSON) -> Tallied:
    """Read the votes of one voter; contestants whose models are gone are there by name."""
    matches = {match.id: match for match in store.matches(arena)}
    cast = {each.match: each for each in store.votes(arena, voter=voter)}
    texts = store.answers({key for m in matches.values() for key in (m.first.answer, m.second.answer)})
    votes = []
    for match in matches.values():
        choice: Choice | None = "tie" if match.identical else _choice(cast, match)
        if choice is None or choice == "skip":
            continue
        first, second = texts[match.first.answer], texts[match.second.answer]
        votes.append(vote_of(match, choice, _length(first, second), float(_marks(first) - _marks(second))))
    pairs = Counter(
        frozenset((match.first.contestant, match.second.contestant))
        for match in matches.values()
        if match.repeats is None and _choice(cast, match) != "skip"
    )
    return Tallied(
        contestants=tuple(each.contestant.name for each in store.contestants(arena)),
        votes=tuple(votes),
        consistency=agreement(_twice(matches, cast)),
        skipped=sum(each.outcome == "skip" for each in cast.values()),
        self_named=sum(matches[each.match].names_itself for each in cast.values()),
        median_s=statistics.median(each.took_s for each in cast.values()) if cast else None,
        planned=next(iter(pairs.values())) if len(set(pairs.values())) == 1 else None,
    )


def vote_of(match: MatchRecord, choice: Choice, length: float, markdown: float) -> Vote:
    """Make of what was said of a match (not a skip) a vote for the statistics."""
    return Vote(
        match.first.contestant,
        match.second.contestant,
        Outcome(choice),
        match.first.prompt,
        length,
        markdown,
        repeats=match.repeats is not None,
        identical=match.identical,
    )


def _choice(cast: Mapping[str, Cast], match: MatchRecord) -> Choice | None:
    found = cast.get(match.id)
    return None if found is None else found.outcome


def _twice(matches: Mapping[str, MatchRecord], cast: Mapping[str, Cast]) -> list[tuple[Outcome, Outcome]]:
    found = []
    for match in matches.values():
        if match.repeats is None:
            continue
        choices = [_choice(cast, match), _choice(cast, matches[match.repeats])]
        if None in choices or "skip" in choices:
            continue
        again, before = (Outcome(str(choice)) for choice in choices)
        found.append((before, again.swapped))
    return found


def _length(first: str, second: str) -> float:
    return math.log((len(first) + 1) / (len(second) + 1))


def _marks(text: str) -> int:
    return len(_MARKS.findall(text))
