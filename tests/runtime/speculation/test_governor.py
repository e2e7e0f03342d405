"""The governor: guesses where they pay on this machine and with this text, and stops where they do not."""

from __future__ import annotations

import random

import pytest

from edgelm.runtime.speculation.draft import Grade
from edgelm.runtime.speculation.governor import LENGTHS, MOST, Governor, expected_tokens

GOOD, WEAK = Grade("lookup", 12), Grade("lookup", 2)


def measured(price_of_a_token: float, plain_s: float = 0.01) -> Governor:
    """On a machine where each further token in a step costs a part of a plain one."""
    governor = Governor()
    for width in (1, *(1 + length for length in LENGTHS)):
        for _ in range(3):
            governor.time_step(width, plain_s * (1 + price_of_a_token * (width - 1)))
    return governor


def test_nothing_is_guessed_before_a_plain_step_was_measured() -> None:
    assert Governor().best_length(GOOD, 8) == 0


def test_cheap_steps_are_filled_and_dear_ones_are_not() -> None:
    assert measured(0.001).best_length(GOOD, 100) == MOST
    assert 1 <= measured(0.3).best_length(Grade("lookup", 5), 100) <= 3
    assert measured(0.3).best_length(WEAK, 100) == 0
    assert measured(1.2).best_length(GOOD, 100) == 0


def test_the_limit_holds() -> None:
    for limit in range(MOST + 2):
        assert measured(0.001).best_length(GOOD, limit) <= limit


def test_guesses_that_fall_are_given_up_and_taken_up_again() -> None:
    governor = measured(0.15)
    assert governor.best_length(WEAK, 8) > 0
    for _ in range(30):
        governor.score(WEAK, 0, 1)
    assert governor.best_length(WEAK, 8) == 0
    for _ in range(60):
        governor.score(WEAK, 1, 0)
    assert governor.best_length(WEAK, 8) > 0


def test_another_request_begins_without_prejudice() -> None:
    governor = measured(0.15)
    for _ in range(60):
        governor.score(GOOD, 0, 1)
    assert governor.best_length(GOOD, 8) == 0
    governor.begin()
    assert governor.best_length(GOOD, 8) > 0
    assert governor.prices()[2] == pytest.approx(1.15)


def test_one_slow_step_decides_nothing() -> None:
    governor = measured(0.01)
    governor.time_step(1 + MOST, 60.0)
    assert governor.best_length(GOOD, 100) == MOST


def test_the_first_step_of_a_width_is_not_counted() -> None:
    governor = Governor()
    governor.time_step(1, 5.0)
    assert governor.prices() == {}
    governor.time_step(1, 0.01)
    assert governor.prices() == {1: 1.0}


def test_a_price_measured_in_a_bad_moment_is_asked_again() -> None:
    governor = measured(0.02)
    for width in range(2, MOST + 2):
        for _ in range(9):
            governor.time_step(width, 1.0)
    asked = [governor.best_length(GOOD, 8) for _ in range(200)]
    assert 1 <= sum(map(bool, asked)) <= 4


def test_drafting_costs_too() -> None:
    governor = measured(0.05)
    model = Grade("model")
    assert governor.best_length(model, 8) > 0
    for _ in range(9):
        governor.time_drafting("model", 4, 4 * 0.02)
    assert governor.best_length(model, 8) == 0


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
def test_expected_tokens_by_counting(chance: float) -> None:
    rng = random.Random(0)
    for length in (1, 4, 8):
        total = 0
        for _ in range(4000):
            stood = 0
            while stood < length and rng.random() < chance:
                stood += 1
            total += stood + 1
        assert total / 4000 == pytest.approx(expected_tokens(chance, length), rel=0.05)
    assert expected_tokens(1.0, 7) == 8


@pytest.mark.parametrize("chance", [0.0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("price", [0.01, 0.1, 0.4, 1.0])
def test_never_much_slower_than_plain(chance: float, price: float) -> None:
    """A simulated answer: whatever the machine and the text, at least 0.97 of plain speed."""
    rng = random.Random(3)
    governor = Governor()
    for _ in range(3):
        governor.time_step(1, 1.0)
    spent, made = 0.0, 0
    while made < 3000:
        length = governor.best_length(WEAK, 16)
        stood = 0
        while stood < max(length, 1) and rng.random() < chance:
            stood += 1
        cost = 1 + price * length
        spent += cost
        governor.time_step(1 + length, cost)
        made += min(stood, length) + 1
        # Unused guesses are scored by their first token.
        governor.score(WEAK, min(stood, max(length, 1)), int(stood < max(length, 1)))
    assert made / spent > 0.97
