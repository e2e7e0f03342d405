"""Strengths: those that a likelihood written out by hand is highest at, under every weighting."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from edgelm.arena.ratings.bradley_terry import OTHER_DEVIATION, STRENGTH_DEVIATION, Design, covariance, fit
from edgelm.arena.ratings.votes import Outcome, Vote

NAMES = ("a", "b", "c")


def some_votes(count: int = 60, seed: int = 0) -> list[Vote]:
    rng = np.random.default_rng(seed)
    votes = []
    for at in range(count):
        one, other = rng.choice(3, 2, replace=False)
        outcome = list(Outcome)[rng.choice(4, p=(0.6, 0.2, 0.15, 0.05))]
        votes.append(Vote(NAMES[one], NAMES[other], outcome, str(at // 3), length=float(rng.normal())))
    return votes


def penalised(theta: np.ndarray, votes: list[Vote], size: float) -> float:
    """The logarithm of the penalised likelihood, a vote at a time."""
    strengths, first, slope = dict(zip(NAMES, theta, strict=False)), theta[3], theta[4]
    total = -sum(theta[:3] ** 2) / 2 / STRENGTH_DEVIATION**2 - (first**2 + slope**2) / 2 / OTHER_DEVIATION**2
    for vote in votes:
        odds = strengths[vote.first] - strengths[vote.second] + first + slope * vote.length / size
        chance = 1 / (1 + math.exp(-odds))
        won = {Outcome.FIRST: 1.0, Outcome.SECOND: 0.0}.get(vote.outcome, 0.5)
        total += won * math.log(chance) + (1 - won) * math.log(1 - chance)
    return float(total)


def test_no_step_away_is_likelier() -> None:
    votes = some_votes()
    design = Design.of(votes, NAMES, ("length",))
    theta = fit(design)[0]
    size = math.sqrt(sum(vote.length**2 for vote in votes) / len(votes))
    best = penalised(theta, votes, size)
    for step in itertools.product((-1e-3, 0, 1e-3), repeat=5):
        assert penalised(theta + np.array(step), votes, size) <= best + 1e-12
    assert theta[:3].sum() == pytest.approx(0, abs=1e-9)
    # The curvature at the top, by differences of the same likelihood.
    here = np.linalg.inv(covariance(design, theta))
    for at in range(5):
        step = np.eye(5)[at] * 1e-3
        around = penalised(theta + step, votes, size) + penalised(theta - step, votes, size)
        assert here[at, at] == pytest.approx((2 * best - around) / 1e-6, rel=1e-3)


def test_a_weight_is_a_vote_that_many_times() -> None:
    votes = some_votes(12)
    times = np.arange(12) % 4
    repeated = [vote for vote, count in zip(votes, times, strict=True) for _ in range(count)]
    weighted = fit(Design.of(votes, NAMES), np.array([times, np.ones(12)], dtype=float))
    assert weighted[0] == pytest.approx(fit(Design.of(repeated, NAMES))[0], abs=1e-7)
    assert weighted[1] == pytest.approx(fit(Design.of(votes, NAMES))[0], abs=1e-7)


def test_votes_that_all_went_one_way_stay_finite() -> None:
    votes = [Vote("a", "b", Outcome.FIRST, str(at)) for at in range(2000)]
    theta = fit(Design.of(votes, ("a", "b")))[0]
    assert np.isfinite(theta).all()
    assert theta[0] - theta[1] > 3


def test_sides_and_places_are_told_apart() -> None:
    """Both are as good, and whoever stands first wins three of four times."""
    votes = [
        Vote(*pair, Outcome.FIRST if at % 4 else Outcome.SECOND, str(at))
        for at in range(400)
        for pair in (("a", "b"), ("b", "a"))
    ]
    theta = fit(Design.of(votes, ("a", "b")))[0]
    assert theta[:2] == pytest.approx([0, 0], abs=1e-6)
    assert theta[2] == pytest.approx(math.log(3), abs=0.01)
