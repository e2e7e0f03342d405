"""What votes say, whole: order, intervals, words, and what is never said."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from edgelm.arena.ratings.consistency import agreement
from edgelm.arena.ratings.plot import plot
from edgelm.arena.ratings.standings import rate
from edgelm.arena.ratings.votes import Outcome, Tally, Vote

A, B, TIE, BAD = Outcome.FIRST, Outcome.SECOND, Outcome.TIE, Outcome.BOTH_BAD


def votes(first: str, second: str, outcomes: list[Outcome], **more: bool) -> list[Vote]:
    """One vote a prompt, every second one with sides changed."""
    return [
        Vote(first, second, each, f"{first}{second}{at}", **more)
        if at % 2
        else Vote(second, first, each.swapped, f"{first}{second}{at}", **more)
        for at, each in enumerate(outcomes)
    ]


def test_the_better_one_stands_first() -> None:
    standings = rate(votes("tuned", "base", [A] * 15 + [B] * 5), ("base", "tuned"), planned=20, rounds=200)
    [pool] = standings.pools
    assert [entry.contestant for entry in pool] == ["tuned", "base"]
    assert pool[0].low < pool[0].rating < pool[0].high
    assert pool[0].rating + pool[1].rating == pytest.approx(2000)
    pair = standings.pair("base", "tuned")
    assert pair.verdict == "tuned is better"
    assert pair.tally == Tally(wins=5, losses=15)
    assert pair.more_votes is None


def test_a_tie_can_be_said() -> None:
    even = rate(votes("x", "y", [A] * 10 + [B] * 10), planned=20, rounds=100).pair("x", "y")
    assert (even.verdict, even.more_votes) == ("tied", None)
    near = rate(votes("x", "y", [A] * 12 + [B] * 8), planned=20, rounds=100).pair("x", "y")
    assert near.verdict == "tied"
    assert near.more_votes == 246 - 20  # 13 of 22 are 59.1 %
    assert rate(votes("x", "y", [A]), planned=20, rounds=100).pair("x", "y").verdict == "not known yet"


def test_a_look_on_the_way_is_no_verdict() -> None:
    """15 to 5 tells once 20 votes were planned; somebody who stops when it looks good has to see more."""
    outcomes = [A] * 15 + [B] * 5
    assert rate(votes("x", "y", outcomes), planned=40, rounds=100).pair("x", "y").verdict == "not known yet"
    assert rate(votes("x", "y", outcomes), rounds=100).pair("x", "y").settled is False
    clear = [A] * 19 + [B] * 3
    assert (
        rate(votes("x", "y", clear), ("x", "y"), planned=40, rounds=100).pair("x", "y").verdict
        == "not known yet"
    )
    assert rate(votes("x", "y", clear), ("x", "y"), rounds=100).pair("x", "y").verdict == "x is better"


def test_repeats_and_identical_answers_are_counted_apart() -> None:
    judged = votes("x", "y", [A, A, B, TIE, BAD])
    more = [*votes("x", "y", [A] * 3, repeats=True), *votes("x", "y", [TIE] * 4, identical=True)]
    standings = rate([*judged, *more], ("x", "y"), rounds=50)
    assert (standings.votes, standings.repeats, standings.identical) == (5, 3, 4)
    assert standings.pair("x", "y").tally == Tally(2, 1, 1, 1, 4)
    alone = rate(judged, ("x", "y"), rounds=50)
    assert standings.pools == alone.pools


def test_pools_that_no_vote_links_are_not_ranked_together() -> None:
    standings = rate(
        [*votes("a", "b", [A, A, B]), *votes("c", "d", [A, B, B])], ("a", "b", "c", "d", "e"), rounds=50
    )
    assert [{entry.contestant for entry in pool} for pool in standings.pools] == [
        {"a", "b"},
        {"c", "d"},
        {"e"},
    ]
    for pool in standings.pools:
        assert sum(entry.rating for entry in pool) == pytest.approx(1000 * len(pool))
    with pytest.raises(KeyError):
        standings.pair("a", "c")


def test_one_who_never_lost_has_a_wide_interval() -> None:
    standings = rate([*votes("a", "b", [A] * 3), *votes("b", "c", [A, B] * 4)], rounds=100)
    entries = {entry.contestant: entry for entry in standings.pools[0]}
    assert [entries[name].one_sided for name in "abc"] == [True, True, True]  # a and the others are two sides
    assert entries["a"].high - entries["a"].low > 400
    linked = rate([*votes("a", "b", [A, A, TIE]), *votes("b", "c", [A, B] * 4)], rounds=100)
    assert not any(entry.one_sided for entry in linked.pools[0])


def test_length_can_be_held_level() -> None:
    """The longer answer is preferred, whoever wrote it, and `wordy` writes longer."""
    longer = [
        Vote("wordy", "terse", A if at % 5 else B, str(at), length=1.0 if at % 5 else -1.0)
        for at in range(100)
    ]
    plain, level = rate(longer, rounds=50), rate(longer, covariates=("length",), rounds=50)
    gap = [each.pools[0][0].rating - each.pools[0][1].rating for each in (plain, level)]
    assert gap[1] < 0.6 * gap[0]
    assert [effect.name for effect in level.effects] == ["first place", "length"]
    assert level.effects[1].value > 0.5


def test_the_same_seed_gives_the_same_and_json_can_hold_it(tmp_path: Path) -> None:
    judged = votes("x", "y", [A, A, B, TIE])
    assert rate(judged, seed=3, rounds=50) == rate(judged, seed=3, rounds=50)
    alone = rate(judged, ("x", "y", "z"), rounds=50)
    said = json.loads(json.dumps(alone.as_dict(), allow_nan=False))
    assert said["pools"][1][0]["low"] is None
    assert math.isinf(alone.pools[1][0].low)
    plot(alone, tmp_path / "standings.svg")
    assert ">x<" in (tmp_path / "standings.svg").read_text()


def test_no_votes_say_nothing() -> None:
    standings = rate([], ("x", "y"))
    assert (standings.pairs, standings.effects, len(standings.pools)) == ((), (), 2)
    with pytest.raises(ValueError, match="two contestants"):
        Vote("x", "x", A, "p")


def test_agreement_is_cohens() -> None:
    """Two raters of 50: 20 both yes, 15 both no, 5 and 10 apart: kappa 0.4 (the example of Wikipedia's article)."""
    pairs = [(A, A)] * 20 + [(A, B)] * 5 + [(B, A)] * 10 + [(B, B)] * 15
    told = agreement(pairs)
    assert (told.pairs, told.same, told.reversed) == (50, 35, 15)
    assert told.kappa == pytest.approx(0.4)
    assert told.share == 0.7
    assert agreement([]).share is None
    assert agreement([(A, A)]).kappa is None
