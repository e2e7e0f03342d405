"""Prompt lookup: the continuation of the place that agrees longest, the latest of those."""

from __future__ import annotations

import random

import pytest

from edgelm.runtime.speculation.lookup import LONGEST, PromptLookup


def test_it_follows_the_longest_agreement() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 9, 2, 3, 7, 8, 1, 2, 3])
    draft = lookup.propose(4)
    assert draft is not None
    assert draft.tokens == (4, 5, 9, 2)
    assert draft.grade.strength == 3


def test_of_equals_the_latest() -> None:
    draft = PromptLookup([1, 2, 5, 6, 1, 2, 7, 8, 1, 2]).propose(2)
    assert draft is not None
    assert draft.tokens == (7, 8)


def test_nothing_to_follow() -> None:
    assert PromptLookup([]).propose(3) is None
    assert PromptLookup([1]).propose(3) is None
    assert PromptLookup([1, 2, 3]).propose(3) is None
    assert PromptLookup([1, 2, 1, 2]).propose(0) is None


def test_it_may_run_into_the_present() -> None:
    """A repetition of one token goes on."""
    draft = PromptLookup([4, 4, 4]).propose(5)
    assert draft is not None
    assert set(draft.tokens) == {4}


def test_what_is_observed_is_found() -> None:
    lookup = PromptLookup([1, 2])
    lookup.observe([3, 1, 2])
    draft = lookup.propose(1)
    assert draft is not None
    assert draft.tokens == (3,)


def test_against_a_search_of_everything() -> None:
    rng = random.Random(0)
    for _ in range(300):
        tokens = [rng.randrange(3) for _ in range(rng.randrange(2, 16))]
        draft = PromptLookup(tokens).propose(3)
        agreements = [agreement(tokens, place) for place in range(2, len(tokens))]
        longest = max(agreements, default=0)
        if longest < 2:
            assert draft is None
            continue
        assert draft is not None
        assert 2 <= draft.grade.strength <= min(longest, LONGEST)
        assert draft.tokens in {tuple(tokens[p : p + 3]) for p in range(2, len(tokens))}


def agreement(tokens: list[int], place: int) -> int:
    length = 0
    while length < place and tokens[place - 1 - length] == tokens[-1 - length]:
        length += 1
    return length


def test_a_long_repetitive_prompt_stays_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The places that are looked at are bounded: a token costs the same after 200,000 as after 200."""
    looked_at: list[int] = []
    lookup = PromptLookup([1, 2] * 100_000)
    whole = PromptLookup._agreement

    def counted(self: PromptLookup, place: int) -> int:
        looked_at.append(place)
        return whole(self, place)

    monkeypatch.setattr(PromptLookup, "_agreement", counted)
    assert lookup.propose(8) is not None
    assert len(looked_at) <= 8
