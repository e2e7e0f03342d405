"""The knapsack against brute force, and its refusal."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm.errors import OptionError
from edgelm.quant.budget import WidthChoice, allocate, lower_hull

CHOICES = st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1)), min_size=1, max_size=4).map(
    lambda pairs: [WidthChoice({"bits": size}, size, loss) for size, loss in pairs]
)


@settings(max_examples=80, deadline=None)
@given(offered=st.lists(CHOICES, min_size=1, max_size=4), budget=st.integers(20, 200))
def test_it_keeps_the_budget_and_comes_within_one_step_of_the_best(
    offered: list[list[WidthChoice]], budget: int
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
    def tensor(loss: float) -> list[WidthChoice]:
        return [WidthChoice({"bits": bits}, 100 * bits, loss / 4**bits) for bits in (2, 3, 4)]

    chosen = allocate({"fragile": tensor(50.0), "robust": tensor(1.0)}, 600)
    assert (chosen["fragile"].settings["bits"], chosen["robust"].settings["bits"]) == (4, 2)


def test_a_large_tensor_that_steps_cannot_reach_is_tried_as_a_whole() -> None:
    # As in gemma-3-270m at 3.5 bits a weight: the embedding is most of it and gains most by a third bit, but layers gain
    # a little more per byte, and once they have it, what is left no longer pays for the embedding's step.
    embedding = [
        WidthChoice({"bits": bits}, 500 * bits, loss) for bits, loss in ((2, 1.5), (3, 0.36), (4, 0.1))
    ]
    layers = {
        f"layer {index}": [WidthChoice({"bits": bits}, 10 * bits, 0.5 / 4**bits) for bits in (2, 3, 4)]
        for index in range(30)
    }
    chosen = allocate({**layers, "embedding": embedding}, 2 * (500 + 30 * 10) + 510)
    assert chosen["embedding"].settings["bits"] == 3
    assert sum(choice.size_bytes for choice in chosen.values()) == 2 * (500 + 30 * 10) + 510


def test_the_hull_drops_what_is_never_worth_it() -> None:
    bad = WidthChoice({}, 20, 0.9)
    hull = lower_hull([WidthChoice({}, 10, 1.0), bad, WidthChoice({}, 30, 0.1), WidthChoice({}, 40, 0.5)])
    assert [choice.size_bytes for choice in hull] == [10, 30]
