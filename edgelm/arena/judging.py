"""Judges vote: each match once, in pieces that are on the disk when they are done, kept apart from what people say.

A judge is asked about no repetition: one that has an order to fall for is asked in both at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.arena.ballot import Ballot
from edgelm.arena.records import BlindMatch, Choice
from edgelm.judges.judge import AnswerPair, Judge, JudgeRecord, Verdict
from edgelm.progress import OnProgress, Progress

AT_ONCE = 16
"""Matches that are judged together: what a kill may lose."""


def judge_all(ballot: Ballot, judge: Judge, on_progress: OnProgress) -> JudgeRecord:
    """Have `judge` vote on every match that is left; what it cannot read is a skip.

    Returns:
        How it did, in this run.

    Raises:
        EdgeLMError: it cannot judge; votes so far stay.
    """
    open_ones = ballot.remaining()
    verdicts: list[Verdict] = []
    for at in range(0, len(open_ones), AT_ONCE):
        some = open_ones[at : at + AT_ONCE]
        said = judge.compare(_pairs(some))
        for match, verdict in zip(some, said, strict=True):
            choice: Choice = verdict.preference or "skip"
            ballot.vote(match.id, choice, took_s=0.0)
        verdicts += said
        on_progress(Progress("Judging", len(verdicts), len(open_ones), "rows"))
    return JudgeRecord.of(verdicts)


def _pairs(matches: Sequence[BlindMatch]) -> list[AnswerPair]:
    return [AnswerPair(match.messages, match.first, match.second) for match in matches]
