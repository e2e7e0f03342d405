"""Several rewards as one: their weighted sum, with each one's own numbers beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.errors import FormatError
from edgelm.rewards.functions.calling import checked_rewards
from edgelm.rewards.reward import JudgedAnswer, Reward


@dataclass(frozen=True)
class WeightedReward:
    """A reward, and by how much it counts."""

    weight: float
    reward: Reward


@dataclass(frozen=True)
class RewardScores:
    """What answers are worth."""

    totals: list[float | None]
    """The weighted sum for each answer over the rewards that judged it; None where none did."""
    parts: Mapping[str, list[float | None]]
    """Each reward's own numbers, before weights."""


class Rewards:
    """The weighted sum of rewards; `with` lets go of their processes."""

    def __init__(self, rewards: Sequence[WeightedReward]) -> None:
        self._rewards = tuple(rewards)
        self._names = _distinct([each.reward.name for each in rewards])

    @property
    def names(self) -> list[str]:
        """The rewards, each under a name of its own."""
        return list(self._names)

    def check_row(self, columns: Mapping[str, Any], where: str) -> None:
        """Refuse a row that lacks what a reward reads.

        Args:
            where: names the row.

        Raises:
            FormatError: it lacks it, or has it empty, or of a kind that the reward cannot use.
        """
        for each in self._rewards:
            for name in each.reward.columns:
                value = columns.get(name)
                if value is None or value == [] or (isinstance(value, str) and not value.strip()):
                    lack = "no" if value is None else "an empty"
                    raise FormatError(
                        f"{where} has {lack} {name!r}, which the reward {each.reward.name} reads"
                    )
            each.reward.check_row(columns, where)

    def scores(self, answers: Sequence[JudgedAnswer]) -> RewardScores:
        """Return what each answer is worth by every reward, and in all.

        Raises:
            RewardError: a reward cannot.
        """
        parts = {
            name: checked_rewards(name, each.reward.score(answers), len(answers))
            for name, each in zip(self._names, self._rewards, strict=True)
        }
        weights = [each.weight for each in self._rewards]
        totals = [_sum(weights, numbers) for numbers in zip(*parts.values(), strict=True)]
        return RewardScores(totals, parts)

    def close(self) -> None:
        """Let go of processes."""
        for each in self._rewards:
            each.reward.close()

    def __enter__(self) -> Rewards:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sum(weights: Sequence[float], numbers: Sequence[float | None]) -> float | None:
    judged = [weight * number for weight, number in zip(weights, numbers, strict=True) if number is not None]
    return sum(judged) if judged else None


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, a number behind those that came before."""
    distinct: list[str] = []
    for name in names:
        number, free = 1, name
        while free in distinct:
            number += 1
            free = f"{name}-{number}"
        distinct.append(free)
    return distinct
