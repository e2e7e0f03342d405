"""Two contestants: numbers of tables and of the definitions themselves."""

from __future__ import annotations

import math
from itertools import product

import pytest

from edgelm.arena.ratings.two import decided, evidence, power_of, sign_test, votes_needed, wilson


@pytest.mark.parametrize(
    ("win_rate", "votes"), [(0.8, 20), (0.75, 29), (0.7, 47), (0.65, 85), (0.6, 194), (0.55, 783)]
)
def test_votes_needed_are_those_of_the_table(win_rate: float, votes: int) -> None:
    assert votes_needed(win_rate) == votes_needed(1 - win_rate) == votes
    assert votes_needed(0.5) is None


@pytest.mark.parametrize("win_rate", [0.8, 0.75, 0.7, 0.65, 0.6])
def test_votes_that_the_exact_test_needs(win_rate: float) -> None:
    """Power is a saw over the number of votes, so it is near what was asked for, never far below."""
    votes = votes_needed(win_rate, exact=True)
    assert votes is not None
    assert 0.77 < power_of(win_rate, votes) < 0.86
    assert power_of(0.5, votes) <= 0.05


def test_wilsons_interval() -> None:
    """81 of 263: the example of Newcombe 1998, table I (method 3)."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(7, 9)
    assert wilson(2, 9) == pytest.approx((1 - high, 1 - low))


def test_the_sign_test_counts_every_split() -> None:
    for wins, losses in product(range(7), repeat=2):
        decisive = wins + losses
        splits = [math.comb(decisive, k) / 2**decisive for k in range(decisive + 1)]
        as_uneven = sum(
            each for k, each in enumerate(splits) if abs(k - decisive / 2) >= abs(wins - decisive / 2)
        )
        assert sign_test(wins, losses) == pytest.approx(as_uneven)


def test_evidence_averages_to_one_where_both_are_as_good() -> None:
    """So it is a martingale that starts at 1, which is what makes looking on the way harmless."""
    for votes in (1, 5, 30):
        mean = sum(math.comb(votes, k) / 2**votes * evidence(k, votes - k) for k in range(votes + 1))
        assert mean == pytest.approx(1)


def test_looking_on_the_way_asks_for_more() -> None:
    assert decided(15, 5, settled=True)
    assert not decided(15, 5, settled=False)
    assert decided(19, 3, settled=False)
    assert not decided(0, 0, settled=True)
