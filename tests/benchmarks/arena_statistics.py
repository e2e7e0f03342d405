"""What the arena's numbers are worth, by simulation: coverage of intervals, false wins, power, votes saved by choosing pairs.

    python tests/benchmarks/arena_statistics.py [--quick] [--seed N]

Planted worlds: prompts shift who is better, some votes are ties, the first place and longer answers are preferred. The truth
that an interval has to cover is what the same fit makes of very many votes of that world. Seeded; takes about three minutes.

    coverage     95 % intervals of ratings hold the truth in 93 to 97 of 100 arenas
    false wins   two that are as good: at most 5 % are told apart, once votes are in and also where somebody looks after each
    power        two of a planted win rate are told apart in 80 of 100 matches at the votes needed, corrected for whole votes;
                 at the table's own numbers as often as is computed exactly
    adaptive     votes until the widest interval is narrow enough, beside pairs at random: at most 0.7 times
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from edgelm.arena.pairing.information import informative_pairs
from edgelm.arena.ratings.bradley_terry import Design, covariance, fit
from edgelm.arena.ratings.standings import BASE_RATING, POINTS_PER_NAT, Standings, rate
from edgelm.arena.ratings.two import decided, power_of, votes_needed
from edgelm.arena.ratings.votes import Outcome, Vote


@dataclass(frozen=True)
class World:
    """How votes come about: strengths in nats, the rest as odds."""

    strengths: tuple[float, ...]
    ties: float = 0.15
    first_place: float = 0.3
    length: float = 0.0
    by_prompt: float = 0.5

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"c{at}" for at in range(len(self.strengths)))

    def vote(self, rng: np.random.Generator, one: int, other: int, prompt: str, shifts: np.ndarray) -> Vote:
        if rng.random() < 0.5:
            one, other = other, one
        # The stronger one writes longer, as models that were tuned on votes do.
        longer = float(rng.normal(0.3 * (one - other), 0.5)) if self.length else 0.0
        odds = self.strengths[one] - self.strengths[other] + shifts[one] - shifts[other]
        odds += self.first_place + self.length * longer
        outcome = Outcome.FIRST if rng.random() < 1 / (1 + math.exp(-odds)) else Outcome.SECOND
        if rng.random() < self.ties:
            outcome = Outcome.TIE
        return Vote(self.names[one], self.names[other], outcome, prompt, length=longer)

    def arena(self, rng: np.random.Generator, prompts: int) -> list[Vote]:
        """Every pair on every prompt."""
        votes = []
        for prompt in range(prompts):
            shifts = rng.normal(0, self.by_prompt, len(self.strengths))
            votes += [
                self.vote(rng, one, other, str(prompt), shifts)
                for one, other in combinations(range(len(self.strengths)), 2)
            ]
        return votes


def truth(world: World, rng: np.random.Generator, covariates: tuple[str, ...]) -> np.ndarray:
    """Ratings that endless votes would give."""
    votes = world.arena(rng, 120_000 // len(world.strengths) ** 2)
    theta = fit(Design.of(votes, world.names, covariates))[0][: len(world.names)]
    return np.asarray(BASE_RATING + POINTS_PER_NAT * (theta - theta.mean()))


def coverage(
    world: World, prompts: int, times: int, rng: np.random.Generator, covariates: tuple[str, ...] = ()
) -> float:
    """The share of intervals that hold the truth."""
    real = truth(world, rng, covariates)
    held = 0
    for at in range(times):
        standings: Standings = rate(
            world.arena(rng, prompts), world.names, covariates=covariates, seed=at, rounds=1000
        )
        entries = {entry.contestant: entry for pool in standings.pools for entry in pool}
        held += sum(
            entries[name].low <= value <= entries[name].high
            for name, value in zip(world.names, real, strict=True)
        )
    return held / (times * len(world.names))


def told_apart(win_rate: float, votes: int, times: int, rng: np.random.Generator, *, looked: bool) -> float:
    """The share of matches of two in which one is called better, at the end or after any vote."""
    told = 0
    for _ in range(times):
        wins = np.cumsum(rng.random(votes) < win_rate)
        looks = range(1, votes + 1) if looked else [votes]
        told += any(decided(int(wins[n - 1]), n - int(wins[n - 1]), settled=not looked) for n in looks)
    return told / times


Choose = Callable[[list[Vote], World, int], tuple[int, int]]


def votes_until(world: World, widest: float, choose: Choose, rng: np.random.Generator, seed: int) -> int:
    """How many votes make every rating's interval at most `widest` points.

    The width is taken at the planted strengths: at the fitted ones, who chooses by them stops where they are narrow by luck.
    """
    count = len(world.strengths)
    planted = np.array([*world.strengths, world.first_place])
    about_mean = np.eye(count) - 1 / count
    votes: list[Vote] = []
    while True:
        one, other = choose(votes, world, seed)
        votes.append(world.vote(rng, one, other, str(len(votes)), np.zeros(count)))
        alike = Counter((vote.first, vote.second) for vote in votes)
        design = Design.of([Vote(*each, Outcome.TIE, prompt="") for each in alike], world.names)
        spread = covariance(design, planted, np.array(list(alike.values()), dtype=float))[:count, :count]
        spread = about_mean @ spread @ about_mean
        if len(votes) >= count and 2 * 1.96 * POINTS_PER_NAT * math.sqrt(max(np.diag(spread))) <= widest:
            return len(votes)


def at_random(votes: list[Vote], world: World, seed: int) -> tuple[int, int]:
    one, other = np.random.default_rng([seed, len(votes), 1]).choice(len(world.strengths), 2, replace=False)
    return int(one), int(other)


def by_information(votes: list[Vote], world: World, seed: int) -> tuple[int, int]:
    pairs = list(combinations(world.names, 2))
    one, other = informative_pairs(votes, world.names, pairs, seed)[0]
    return world.names.index(one), world.names.index(other)


def line(what: str, value: float, bar: str, met: bool) -> None:
    print(f"  {what:<62}{value:8.3f}   {bar}: {'met' if met else 'MISSED'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    times = 60 if asked.quick else 400

    print("coverage of 95 % intervals")
    for what, world, prompts, covariates in (
        ("two, 40 prompts", World((-0.35, 0.35)), 40, ()),
        ("two, 150 prompts, a quarter ties", World((-0.2, 0.2), ties=0.25), 150, ()),
        ("four, all pairs on 25 prompts", World((-0.6, -0.2, 0.2, 0.6)), 25, ()),
        ("six, all pairs on 60 prompts", World((-1.0, -0.5, -0.2, 0.2, 0.5, 1.0)), 60, ()),
        (
            "four, longer preferred, length held level",
            World((-0.6, -0.2, 0.2, 0.6), length=0.6),
            60,
            ("length",),
        ),
    ):
        share = coverage(world, prompts, times, rng, covariates)
        line(what, share, "0.93 to 0.97", 0.93 <= share <= 0.97)

    print("false wins, two that are as good")
    for votes in (20, 47, 100, 200):
        share = told_apart(0.5, votes, times * 10, rng, looked=False)
        line(f"{votes} votes, judged once", share, "0.05", share <= 0.05)
    share = told_apart(0.5, 200, times, rng, looked=True)
    line("looked at after each of 200 votes", share, "0.05", share <= 0.05)

    print("power of the exact test")
    for win_rate in (0.8, 0.75, 0.7, 0.65, 0.6, 0.55):
        for what, votes in (
            ("table", votes_needed(win_rate)),
            ("corrected", votes_needed(win_rate, exact=True)),
        ):
            share = told_apart(win_rate, votes or 0, times * 5, rng, looked=False)
            bar = 0.8 if what == "corrected" else power_of(win_rate, votes or 0)
            line(
                f"a win rate of {win_rate:.0%}, {votes} votes ({what})",
                share,
                f"{bar:.3f} ± 0.04",
                abs(share - bar) <= 0.04,
            )

    print("pairs chosen by information, beside pairs at random")
    for what, world, widest in (
        ("12 of 8 nats from end to end", World(tuple(np.linspace(-4, 4, 12)), by_prompt=0), 250),
        ("12 of 8 nats, narrower", World(tuple(np.linspace(-4, 4, 12)), by_prompt=0), 150),
        ("8 of 6 nats", World(tuple(np.linspace(-3, 3, 8)), by_prompt=0), 250),
        ("6 within 1 nat (nothing to save)", World(tuple(np.linspace(-0.5, 0.5, 6)), by_prompt=0), 250),
    ):
        counts = {
            name: np.mean(
                [votes_until(world, widest, choose, rng, seed) for seed in range(5 if asked.quick else 12)]
            )
            for name, choose in (("adaptive", by_information), ("random", at_random))
        }
        ratio = float(counts["adaptive"] / counts["random"])
        bar = 1.05 if "nothing" in what else 0.7
        line(f"{what}: {counts['adaptive']:.0f} beside {counts['random']:.0f}", ratio, f"{bar}", ratio <= bar)


if __name__ == "__main__":
    main()
