"""The knapsack against brute force, and its refusal."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm.errors import OptionError
from edgelm.quant.budget import Choice, allocate, lower_hull

CHOICES = st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1)), min_size=1, max_size=4).map(
    lambda pairs: [Choice({"bits": size}, size, loss) for size, loss in pairs]
)


@settings(max_examples=80, deadline=None)
@given(offered=st.lists(CHOICES, min_size=1, max_size=4), budget=st.integers(20, 200))
def test_it_keeps_the_budget_and_comes_within_one_step_of_the_best(
    offered: list[list[Choice]], budget: int
) -> None:
    named = {str(index): choices for index, choices in enumerate(offered)}
    if sum(min(c.size_bytes for c in choices) for choices in offered) > budget:
        with pytest.raises(OptionError, match="at the fewest bits"):
            allocate(named, budget)
        return
    chosen = allocate(named, budget).values()
    assert sum(choice.size_bytes for choice in chosen) <= budget
    best = min(
        sum(choice.loss for choice in way)
        for way in itertools.product(*offered)
        if sum(choice.size_bytes for choice in way) <= budget
    )
    steps = [a.loss - b.loss for c in offered for a, b in itertools.pairwise(lower_hull(c))]
    assert sum(choice.loss for choice in chosen) <= best + max(steps, default=0.0) + 1e-9


def test_bytes_go_where_they_help_most() -> None:
    def tensor(loss: float) -> list[Choice]:
        return [Choice({"bits": bits}, 100 * bits, loss / 4**bits) for bits in (2, 3, 4)]

    chosen = allocate({"fragile": tensor(50.0), "robust": tensor(1.0)}, 600)
    assert (chosen["fragile"].settings["bits"], chosen["robust"].settings["bits"]) == (4, 2)


def test_the_hull_drops_what_is_never_worth_it() -> None:
    bad = Choice({}, 20, 0.9)
    hull = lower_hull([Choice({}, 10, 1.0), bad, Choice({}, 30, 0.1), Choice({}, 40, 0.5)])
    assert [choice.size_bytes for choice in hull] == [10, 30]
