"""A vote as the statistics see it: plain values, names of contestants as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Outcome(StrEnum):
    """What was said of the two answers of a match, by the place they were shown in."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"
    BOTH_BAD = "both_bad"

    @property
    def score(self) -> float:
        """What the first answer earns: 1, 0, or ½ for a tie; both bad says nothing of which is better, so it is a tie."""
        return {Outcome.FIRST: 1.0, Outcome.SECOND: 0.0}.get(self, 0.5)

    @property
    def swapped(self) -> Outcome:
        """The same judgement where the answers had stood the other way round."""
        return {Outcome.FIRST: Outcome.SECOND, Outcome.SECOND: Outcome.FIRST}.get(self, self)


@dataclass(frozen=True, slots=True)
class Vote:
    """One judgement of two answers to one prompt.

    Attributes:
        first: the contestant whose answer was shown first (on the left).
        second: the other.
        outcome: what was said.
        prompt: what names the prompt: votes on one prompt are not independent of each other.
        length: the logarithm of the first answer's length over the second's.
        markdown: marks of markdown in the first answer less those in the second.
        repeats: whether this pair of answers had been judged before, the other way round.
        identical: whether both answers are the same text, so that nobody was asked: a tie by construction.
    """

    first: str
    second: str
    outcome: Outcome
    prompt: str
    length: float = 0.0
    markdown: float = 0.0
    repeats: bool = False
    identical: bool = False

    def __post_init__(self) -> None:
        if self.first == self.second:
            raise ValueError(f"a vote is between two contestants, not {self.first!r} alone")


@dataclass(frozen=True, slots=True)
class Tally:
    """What was voted between two contestants, whichever stood first; repeats and identical answers are not in it."""

    wins: int = 0
    losses: int = 0
    ties: int = 0
    both_bad: int = 0
    identical: int = 0

    @classmethod
    def of(cls, votes: Iterable[Vote], contestant: str, rival: str) -> Self:
        """Count the votes of a pair, as `contestant` sees them."""
        counts = Counter[str]()
        for vote in votes:
            if {vote.first, vote.second} != {contestant, rival} or vote.repeats:
                continue
            outcome = vote.outcome if vote.first == contestant else vote.outcome.swapped
            counts["identical" if vote.identical else outcome] += 1
        return cls(
            counts[Outcome.FIRST],
            counts[Outcome.SECOND],
            counts[Outcome.TIE],
            counts[Outcome.BOTH_BAD],
            counts["identical"],
        )

    @property
    def decisive(self) -> int:
        """How many votes say which is better."""
        return self.wins + self.losses

    @property
    def asked(self) -> int:
        """How many times somebody judged."""
        return self.decisive + self.ties + self.both_bad


def counted(votes: Iterable[Vote]) -> list[Vote]:
    """List the votes that strengths are made of: each match once, and none that nobody was asked about."""
    return [vote for vote in votes if not vote.repeats and not vote.identical]
