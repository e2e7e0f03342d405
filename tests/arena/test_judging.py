"""Judges in an arena: their votes stand apart, go on after an end, and are compared with a person's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from arena_answers import make_arena

from edgelm.errors import EngineError
from edgelm.judges.judge import AnswerPair, Verdict


class Fails:
    """Prefers the answer with "number 4", has no verdict on question 3, and dies in its second piece, once."""

    name = "model:fails"

    def __init__(self) -> None:
        self.calls, self.seen = 0, list[str]()

    def compare(self, pairs: Sequence[AnswerPair]) -> list[Verdict]:
        self.calls += 1
        if self.calls == 2:
            raise EngineError("it died")
        self.seen += [pair.messages[0]["content"] for pair in pairs]
        return [self._verdict(pair) for pair in pairs]

    def _verdict(self, pair: AnswerPair) -> Verdict:
        if "question 3 " in pair.first:
            return Verdict(None)
        return Verdict("first" if "number 4" in pair.first else "second")

    def close(self) -> None:
        return


def test_a_judge_votes_apart_and_goes_on(home: Path) -> None:
    with make_arena(home, prompts=40) as arena:
        judge = Fails()
        with pytest.raises(EngineError):
            arena.judge(judge)
        assert len(judge.seen) == 16
        record = arena.judge(judge)
        assert (record.pairs, len(set(judge.seen)), len(judge.seen)) == (24, 40, 40), (
            "nothing is judged twice"
        )
        assert arena.ballot().progress.done == 0, "the person has not voted"
        standings = arena.standings(judge.name)
        assert (standings.votes, arena.tally(judge.name).skipped) == (39, 1)
        assert standings.pair("left", "right-one").verdict == "left is better"
        assert arena.voters() == [judge.name]
        assert len(arena.training_rows(voter=judge.name).training) == 39


def test_agreement_with_a_person_is_of_what_both_judged(home: Path) -> None:
    with make_arena(home, prompts=8) as arena:
        arena.judge(Fails())
        ballot = arena.ballot()
        for at in range(6):
            match = ballot.next()
            assert match
            liked = "first" if "number 4" in match.first else "second"
            other = "second" if liked == "first" else "first"
            ballot.vote(match.id, "skip" if at == 0 else other if at == 1 else liked)  # type: ignore[arg-type]
        told = arena.agreement("model:fails")
        assert told.pairs in (4, 5), "the skip, and question 3 where it was among them, are not compared"
        assert told.pairs - told.same == told.reversed <= 1
