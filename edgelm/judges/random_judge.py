"""Chance as a judge, for controls: what it is asked to tell apart is never told apart."""

from __future__ import annotations

import random
from collections.abc import Sequence

from edgelm.judges.judge import AnswerPair, Verdict


class RandomJudge:
    """Prefers either answer by a seeded coin over their texts, whichever stands first; equal ones tie.

    Args:
        name: what it is called, as people write it.
        seed: of the coin.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name, self._seed = name, seed

    def compare(self, pairs: Sequence[AnswerPair]) -> list[Verdict]:
        """Return a verdict for each pair."""
        return [self._verdict(pair) for pair in pairs]

    def close(self) -> None:
        """Do nothing: it holds nothing."""

    def _verdict(self, pair: AnswerPair) -> Verdict:
        if pair.first == pair.second:
            return Verdict("tie")
        texts = sorted((pair.first, pair.second))
        better = random.Random(repr((self._seed, list(pair.messages), texts))).choice(texts)
        return Verdict("first" if better == pair.first else "second")
