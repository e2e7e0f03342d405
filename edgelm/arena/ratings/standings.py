"""What votes say, whole: ratings with intervals by pool, a verdict for each pair, biases, how many more votes would tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np

from edgelm.arena.ratings.bootstrap import ROUNDS, FittedStrengths, bootstrapped
from edgelm.arena.ratings.bradley_terry import Design
from edgelm.arena.ratings.connected import one_sided, pools
from edgelm.arena.ratings.two import CONFIDENCE, decided, evidence, sign_test, votes_needed, wilson
from edgelm.arena.ratings.votes import Tally, Vote, counted

BASE_RATING = 1000.0
POINTS_PER_NAT: Final = 400 / math.log(10)
"""Elo's scale: 400 points are odds of ten to one."""

MOST_VOTES_SAID = 2000
"""A gap that would need more is not told from none at home."""


@dataclass(frozen=True, slots=True)
class RatingEntry:
    """A contestant's rating, and its interval, in Elo's points about the mean of its pool."""

    contestant: str
    rating: float
    low: float
    high: float
    votes: int
    one_sided: bool
    """Whether it won or lost everything against a part of its pool, so that one end of its interval is the prior's."""


@dataclass(frozen=True, slots=True)
class PairStanding:
    """Two contestants beside each other, as the first of them sees it."""

    contestant: str
    rival: str
    tally: Tally
    win_rate: float | None
    low: float
    high: float
    p_value: float
    evidence: float
    settled: bool
    verdict: str
    more_votes: int | None
    """About how many more judged matches would tell them apart at the rate seen; None where told, or it is too near a half."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Effect:
    """What else moved votes: standing first, being longer, having more markdown; in nats, with its interval."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Standings:
    """All that votes say.

    Attributes:
        pools: contestants that are linked by votes, best first; there is no order among pools.
        pairs: every pair that was judged.
        effects: of standing first, and of the covariates that were asked for.
        votes: how many count; repeats and identical answers do not.
    """

    pools: tuple[tuple[RatingEntry, ...], ...]
    pairs: tuple[PairStanding, ...]
    effects: tuple[Effect, ...]
    votes: int
    identical: int
    repeats: int
    rounds: int
    confidence: float

    def pair(self, contestant: str, rival: str) -> PairStanding:
        """Return the standing of a pair, in the order it was laid down in.

        Raises:
            KeyError: they were not judged.
        """
        for each in self.pairs:
            if {each.contestant, each.rival} == {contestant, rival}:
                return each
        raise KeyError((contestant, rival))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; an end that nothing is known of is None."""
        return asdict(self, dict_factory=_finite)


def _finite(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isinf(value) else value for name, value in items}


def rate(
    votes: Sequence[Vote],
    contestants: Sequence[str] = (),
    *,
    covariates: Sequence[str] = (),
    planned: int | None = None,
    seed: int = 0,
    rounds: int = ROUNDS,
    confidence: float = CONFIDENCE,
) -> Standings:
    """Work out what votes say.

    Args:
        votes: in any order, repeats and identical answers among them.
        contestants: those to be rated, in the order wanted for those alike; none are those of the votes.
        covariates: "length", "markdown": held level, so that strengths are those of answers as long, and as marked up.
        planned: how many matches of a pair were settled before the first vote: the exact sign test judges when they are in, and
            nothing is said before. None, or more votes than planned: a test judges that may be looked at after each.
        seed: of the bootstrap.
        rounds: of the bootstrap.
        confidence: of all intervals.

    Returns:
        Standings, the same for the same votes and seed.
    """
    names = tuple(dict.fromkeys([*contestants, *(n for v in votes for n in (v.first, v.second))]))
    valid = counted(votes)
    fitted, design = None, Design.of(valid, names, covariates)
    if valid:
        fitted = bootstrapped(design, seed, rounds)
    return Standings(
        pools=tuple(_ranked(pool, names, valid, fitted, confidence) for pool in pools(names, valid)),
        pairs=tuple(
            _pair(votes, one, other, planned, confidence)
            for one, other in combinations(names, 2)
            if any({vote.first, vote.second} == {one, other} for vote in votes)
        ),
        effects=_effects(("first place", *covariates), len(names), fitted, confidence),
        votes=len(valid),
        identical=sum(vote.identical for vote in votes),
        repeats=sum(vote.repeats for vote in votes),
        rounds=rounds,
        confidence=confidence,
    )


def _ranked(
    pool: tuple[str, ...],
    names: tuple[str, ...],
    votes: list[Vote],
    fitted: FittedStrengths | None,
    confidence: float,
) -> tuple[RatingEntry, ...]:
    """The entries of a pool, best first. A pool of one, or without votes, has no interval but everything."""
    if fitted is None or len(pool) == 1:
        return tuple(RatingEntry(each, BASE_RATING, -math.inf, math.inf, 0, False) for each in pool)
    unbounded = set(one_sided(names, votes))
    entries = []
    for each in pool:
        contrast = np.zeros(len(fitted.theta))
        contrast[[names.index(one) for one in pool]] = -1 / len(pool)
        contrast[names.index(each)] += 1
        interval = fitted.interval(contrast, confidence, one_sided=each in unbounded)
        rating, low, high = (BASE_RATING + POINTS_PER_NAT * value for value in interval)
        asked = sum(each in (vote.first, vote.second) for vote in votes)
        entries.append(RatingEntry(each, rating, low, high, asked, each in unbounded))
    return tuple(sorted(entries, key=lambda entry: -entry.rating))


def _effects(
    labels: Sequence[str], contestants: int, fitted: FittedStrengths | None, confidence: float
) -> tuple[Effect, ...]:
    if fitted is None:
        return ()
    unit = np.eye(len(fitted.theta))
    return tuple(
        Effect(label, *fitted.interval(unit[contestants + at], confidence)) for at, label in enumerate(labels)
    )


def _pair(
    votes: Sequence[Vote], contestant: str, rival: str, planned: int | None, confidence: float
) -> PairStanding:
    tally = Tally.of(votes, contestant, rival)
    wins, losses = tally.wins, tally.losses
    judged = tally.asked + tally.identical
    settled = judged == planned
    low, high = wilson(wins, tally.decisive, confidence)
    # Before the plan is complete nothing is said: a verdict then and another in the end would be wrong more often than one.
    on_the_way = planned is not None and judged < planned
    told = not on_the_way and decided(wins, losses, settled=settled, confidence=confidence)
    more = None if told else _more_votes(tally, confidence)
    return PairStanding(
        contestant, rival, tally, wins / tally.decisive if tally.decisive else None, low, high,
        sign_test(wins, losses), evidence(wins, losses), settled, _verdict(contestant, rival, tally, told, settled), more,
    )  # fmt: skip


def _verdict(contestant: str, rival: str, tally: Tally, told: bool, settled: bool) -> str:
    if told:
        return f"{contestant if tally.wins > tally.losses else rival} is better"
    if not tally.asked:
        return "tied" if tally.identical else "no votes yet"
    return "tied" if settled else "not known yet"


def _more_votes(tally: Tally, confidence: float) -> int | None:
    """Judged matches that tell a gap of the size seen, at 80 % power; the rate is drawn to a half by one vote on each side."""
    if not tally.decisive:
        return None
    needed = votes_needed((tally.wins + 1) / (tally.decisive + 2), confidence=confidence, exact=True)
    if needed is None:
        return None
    more = math.ceil(max(1, needed - tally.decisive) * tally.asked / tally.decisive)
    return more if more <= MOST_VOTES_SAID else None
