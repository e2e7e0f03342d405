"""Gives the next match and takes a vote: plain values for whoever shows them, a terminal, an app or a judge.

What it gives tells nothing of who wrote what. A vote is on the disk when `vote` returns. Several ballots, in this process or
another, may be open on one arena: what one voted on is not asked by the next.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from edgelm.arena.arena_store import ArenaStore
from edgelm.arena.matching import REPEAT_AFTER
from edgelm.arena.records import CHOICES, PERSON, BlindMatch, Cast, Choice, MatchRecord, RoundHead
from edgelm.arena.tally import vote_of
from edgelm.errors import OptionError


@dataclass(frozen=True, slots=True)
class BallotProgress:
    """How far a voter is: matches voted on, of how many there are to ask about."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Reveal:
    """Who wrote the answers of a match that was voted on."""

    first: str
    second: str


class Ballot:
    """One voter's way through an arena.

    Args:
        store: where matches are and votes go.
        arena: what is voted on.
        voter: who votes; the name of a judge, or the person.
    """

    def __init__(self, store: ArenaStore, arena: RoundHead, voter: str = PERSON) -> None:
        self._store = store
        self._arena = arena
        self._voter = voter
        self._names = [each.contestant.name for each in store.contestants(arena)]
        self._prompts = {asked.id: asked for asked in store.prompts(arena)}
        self._matches = {match.id: match for match in store.matches(arena) if not match.identical}
        self._votes = self._standing()
        self._own: list[str] = []
        self._shown: str | None = None
        self._shown_at = 0.0
        self._again: str | None = None

    @property
    def progress(self) -> BallotProgress:
        """How far it is; votes of other processes are counted as of the last `next`."""
        return BallotProgress(sum(match in self._matches for match in self._votes), len(self._matches))

    def next(self) -> BlindMatch | None:
        """Return the match to show: the one under way, the one that was taken back, else the next; None at the end."""
        self._votes = self._standing()
        if self._shown is None or self._shown in self._votes:
            again = self._again if self._again not in self._votes else None
            self._again = None
            chosen = self._matches[again] if again else self._choose()
            self._shown = chosen.id if chosen else None
            self._shown_at = time.monotonic()
        return self._seen(self._matches[self._shown]) if self._shown else None

    def remaining(self) -> list[BlindMatch]:
        """List the matches that this voter has not voted on, repetitions left out, for who takes many at once."""
        self._votes = self._standing()
        return [
            self._seen(match)
            for match in self._matches.values()
            if match.repeats is None and match.id not in self._votes
        ]

    def vote(self, match: str, choice: Choice, *, took_s: float | None = None) -> bool:
        """Take a vote; False where another process has one of this voter on the match already, which stands.

        Args:
            match: the id of a match that `next` gave.
            choice: which answer is better, by its place.
            took_s: seconds of judging; None is since `next` showed it first.

        Raises:
            OptionError: no such match or choice.
            OutputError: the database is locked for long, or cannot be written; nothing was voted then.
        """
        if choice not in CHOICES:
            raise OptionError(f"a vote is {choice!r}, expected one of {', '.join(CHOICES)}")
        if match not in self._matches:
            raise OptionError(f"there is no match {match!r} to vote on")
        if took_s is None:
            took_s = time.monotonic() - self._shown_at if match == self._shown else 0.0
        taken = self._store.vote(match, self._voter, choice, took_s) is not None
        if taken:
            self._own.append(match)
        return taken

    def undo(self) -> bool:
        """Take back the latest vote of this voter, which is asked again next; False if there is none."""
        standing = self._store.votes(self._arena, voter=self._voter)
        mine = {cast.match for cast in standing}
        own = [match for match in self._own if match in mine]
        match = own[-1] if own else next((cast.match for cast in reversed(standing)), None)
        if match is None or not self._store.take_back(match, self._voter):
            return False
        self._own = [each for each in own if each != match]
        self._shown, self._again = None, match
        return True

    def reveal(self, match: str) -> Reveal:
        """Tell who wrote the answers of a match.

        Raises:
            OptionError: no vote of this voter stands on it.
        """
        if match not in self._standing() or match not in self._matches:
            raise OptionError(f"match {match} was not voted on yet", hint="names are told after the vote")
        record = self._matches[match]
        return Reveal(record.first.contestant, record.second.contestant)

    def _standing(self) -> dict[str, Cast]:
        return {cast.match: cast for cast in self._store.votes(self._arena, voter=self._voter)}

    def _choose(self) -> MatchRecord | None:
        open_ones = [match for match in self._matches.values() if match.id not in self._votes]
        fresh = [match for match in open_ones if match.repeats is None]
        due = [match for match in open_ones if match.repeats is not None and self._is_due(match, fresh)]
        if due:
            return due[0]
        if not fresh:
            return None
        return fresh[0] if len(self._names) == 2 else self._most_telling(fresh)

    def _is_due(self, match: MatchRecord, fresh: list[MatchRecord]) -> bool:
        """Whether a repetition is asked now: its pair was judged, some matches ago, and its place has come."""
        original = self._votes.get(match.repeats or "")
        if original is None or original.outcome == "skip":
            return False
        if not fresh:
            return True
        since = sum(cast.id > original.id for cast in self._votes.values())
        return since >= REPEAT_AFTER and len(self._votes) >= match.place

    def _most_telling(self, fresh: list[MatchRecord]) -> MatchRecord:
        """The next match of the pair of contestants of whom a vote tells most."""
        from edgelm.arena.pairing.information import informative_pairs

        pairs = dict.fromkeys(_pair(match) for match in fresh)
        votes: list[Any] = [
            vote_of(self._matches[cast.match], cast.outcome, 0.0, 0.0)
            for cast in self._votes.values()
            if cast.match in self._matches and cast.outcome != "skip"
        ]
        best = set(informative_pairs(votes, self._names, list(pairs), self._arena.seed)[0])
        return next(match for match in fresh if set(_pair(match)) == best)

    def _seen(self, match: MatchRecord) -> BlindMatch:
        texts = self._store.answers((match.first.answer, match.second.answer))
        asked = self._prompts[match.first.prompt]
        return BlindMatch(
            match.id,
            asked.messages,
            texts[match.first.answer],
            texts[match.second.answer],
            match.names_itself,
        )


def _pair(match: MatchRecord) -> tuple[str, str]:
    one, other = sorted((match.first.contestant, match.second.contestant))
    return one, other
