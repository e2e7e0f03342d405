"""A reward as a judge: the answer that is worth more is the better one."""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.judges.judge import AnswerPair, Verdict
from edgelm.rewards.combined import Rewards
from edgelm.rewards.reward import JudgedAnswer


class RewardJudge:
    """Compares what answers are worth; equal is a tie, and where a reward says nothing of one there is no verdict.

    Args:
        name: what it is called, as people write it.
        rewards: closed with the judge.
    """

    def __init__(self, name: str, rewards: Rewards) -> None:
        self.name, self._rewards = name, rewards

    def compare(self, pairs: Sequence[AnswerPair]) -> list[Verdict]:
        """Return a verdict for each pair.

        Raises:
            FormatError: a prompt's row lacks what a reward reads.
            RewardError: a reward cannot judge them.
        """
        for number, pair in enumerate(pairs, 1):
            self._rewards.check_row(pair.columns, f"prompt {number}")
        answers = [
            JudgedAnswer(list(pair.messages), text, pair.columns)
            for pair in pairs
            for text in (pair.first, pair.second)
        ]
        worth = self._rewards.scores(answers).totals
        return [_verdict(one, other) for one, other in zip(worth[::2], worth[1::2], strict=True)]

    def close(self) -> None:
        """Let go of the rewards' processes and models."""
        self._rewards.close()


def _verdict(first: float | None, second: float | None) -> Verdict:
    if first is None or second is None:
        return Verdict(None)
    if first == second:
        return Verdict("tie")
    return Verdict("first" if first > second else "second")
