"""Which match comes next, and who stands where."""

from __future__ import annotations

import itertools

import numpy as np

from edgelm.arena.pairing.information import informative_pairs
from edgelm.arena.pairing.sides import balanced_sides, chosen_repeats
from edgelm.arena.ratings.bradley_terry import Design, covariance
from edgelm.arena.ratings.votes import Outcome, Vote

NAMES = ("a", "b", "c", "d")
GAP = 0.8
PAIRS = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]


def even(first: str, second: str, count: int) -> list[Vote]:
    outcomes = (Outcome.FIRST, Outcome.SECOND)
    return [Vote(first, second, outcomes[at % 2], f"{first}{second}{at}") for at in range(count)]


def test_who_is_known_least_is_asked_about() -> None:
    votes = [
        *even("a", "b", 30),
        *even("b", "c", 30),
        *even("c", "d", 2),
    ]
    assert "d" in informative_pairs(votes, NAMES, PAIRS, seed=1)[0]


def widest(votes: list[Vote], names: str) -> float:
    """The variance of the strength that is known least, about the mean, in nats squared, where votes are as in the world."""
    design = Design.of(votes, names)
    count = len(names)
    world = np.append(-GAP * np.arange(count), 0.0)
    about_mean = np.eye(count) - 1 / count
    known = about_mean @ covariance(design, world)[:count, :count] @ about_mean
    return float(max(np.diag(known)))


def test_votes_where_they_tell_most_make_ratings_sharper() -> None:
    """Eight, 0.8 nats from one to the next: whom nobody beats is compared with the next, not with the last."""
    names = "abcdefgh"
    pairs = list(itertools.combinations(names, 2))
    spread = {False: 0.0, True: 0.0}
    for chosen, seed in itertools.product(spread, range(3)):
        rng = np.random.default_rng(seed)
        votes = list[Vote]()
        for at in range(260):
            order = informative_pairs(votes, names, pairs, seed) if chosen else [pairs[rng.integers(28)]]
            first, second = rng.permutation(order[0])
            better = 1 / (1 + np.exp(GAP * (names.index(first) - names.index(second))))
            outcome = Outcome.FIRST if rng.random() < better else Outcome.SECOND
            votes.append(Vote(first, second, outcome, str(at)))
        spread[chosen] += widest(votes, names)
    assert spread[True] < 0.8 * spread[False]


def test_only_open_pairs_and_the_same_for_the_same_seed() -> None:
    some = informative_pairs([], NAMES, [("d", "a"), ("b", "c")], seed=5)
    assert {frozenset(pair) for pair in some} == {frozenset("ad"), frozenset("bc")}
    assert informative_pairs([], NAMES, PAIRS, seed=5) == informative_pairs([], NAMES, PAIRS, seed=5)
    assert len({informative_pairs([], NAMES, PAIRS, seed=seed)[0] for seed in range(20)}) > 2
    assert informative_pairs([], NAMES, [], seed=0) == []


def test_sides_are_balanced_and_of_chance() -> None:
    for count in (0, 1, 7, 40):
        sides = balanced_sides(count, "a b 3")
        assert abs(2 * sum(sides) - count) <= 1
        assert sides == balanced_sides(count, "a b 3")
    assert balanced_sides(40, 1) != balanced_sides(40, 2)
    assert 20 < sum(balanced_sides(1, seed)[0] for seed in range(80)) < 60


def test_a_twentieth_is_shown_again() -> None:
    again = chosen_repeats(range(100), 7)
    assert len(set(again)) == 5
    assert again == chosen_repeats(range(100), 7) != chosen_repeats(range(100), 8)
