"""The right answer, by its text or by its number; rows have it in `answer`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgelm.errors import FormatError
from edgelm.rewards.final_answer import final_answer, final_number
from edgelm.rewards.reward import JudgedAnswer, Reward

ANSWER = "answer"
"""The field of a row that holds the right answer."""


class ExactReward(Reward):
    """Gives 1 to an answer that is the right one, white space aside, else 0.

    Args:
        is_final: whether only the result that the answer states last counts (see `final_answer`), not all of it.
    """

    columns = (ANSWER,)

    def __init__(self, *, is_final: bool = False) -> None:
        self.name = "exact"
        self._is_final = is_final

    def score(self, answers: Sequence[JudgedAnswer]) -> list[float | None]:
        """Return 1 or 0 for each answer; None where the row has no right one."""
        return [self._one(each) for each in answers]

    def _one(self, each: JudgedAnswer) -> float | None:
        right = each.columns.get(ANSWER)
        if right is None:
            return None
        part = final_answer if self._is_final else str
        return float(_collapsed(part(each.text)) == _collapsed(part(str(right))))


class NumericReward(Reward):
    """Gives 1 to an answer whose last number is the right one.

    Args:
        tolerance: by which they may differ, relative to the larger one, and absolute where both are small.
    """

    columns = (ANSWER,)

    def __init__(self, tolerance: float = 1e-6) -> None:
        self.name = "numeric"
        self._tolerance = tolerance

    def score(self, answers: Sequence[JudgedAnswer]) -> list[float | None]:
        """Return 1 or 0 for each answer; None where the row has no number to compare with."""
        return [self._one(each) for each in answers]

    def check_row(self, columns: Mapping[str, Any], where: str) -> None:
        """Refuse a row whose right answer has no number: nothing could ever be right."""
        right = str(columns[ANSWER])
        if final_number(right) is None:
            raise FormatError(
                f"{where} has {right[:60]!r} as {ANSWER!r}, expected a number for the reward {self.name}"
            )

    def _one(self, each: JudgedAnswer) -> float | None:
        right = each.columns.get(ANSWER)
        wanted = None if right is None else final_number(str(right))
        if wanted is None:
            return None
        number = final_number(each.text)
        if number is None:
            return 0.0
        return float(math.isclose(number, wanted, rel_tol=self._tolerance, abs_tol=self._tolerance))


def _collapsed(text: str) -> str:
    return " ".join(text.split())
