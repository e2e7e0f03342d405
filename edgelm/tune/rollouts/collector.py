"""A round: the groups of some questions, drawn, judged, and compared; what is on the disk is not made again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgelm.rewards.combined import Rewards
from edgelm.rewards.reward import JudgedAnswer
from edgelm.runtime.requests import Cancel
from edgelm.tune.rollouts.advantages import advantages, has_variance
from edgelm.tune.rollouts.questions import RewardedQuestion
from edgelm.tune.rollouts.rollout import RolloutGroup
from edgelm.tune.rollouts.sampling import GroupSampler
from edgelm.tune.rollouts.store import RolloutStore
from edgelm.tune.settings import RolloutSettings

_AT_ONCE = 64
"""Answers that are drawn together, and kept once all of them are there."""


@dataclass(frozen=True, eq=False)
class RolloutRound:
    """Judged groups, in the order of their questions, with the advantage of every answer."""

    groups: tuple[RolloutGroup, ...]
    advantages: tuple[npt.NDArray[np.float32], ...]

    @property
    def trained(self) -> list[int]:
        """The groups that teach something: those whose rewards differ. Where none do, all stay, and teach nothing."""
        telling = [at for at, group in enumerate(self.groups) if has_variance(group.rewards or ())]
        return telling or list(range(len(self.groups)))

    def metrics(self) -> dict[str, float]:
        """Return what to watch of a round: rewards, their spread, lengths, how many answers were cut off."""
        rewards = [reward for group in self.groups for reward in group.rewards or () if reward is not None]
        rollouts = [rollout for group in self.groups for rollout in group.rollouts]
        spread = [np.std(judged) for group in self.groups if (judged := _judged(group))]
        entropies = [-rollout.log_probs.mean() for rollout in rollouts if rollout.log_probs.size]
        told = {
            "reward": float(np.mean(rewards)) if rewards else 0.0,
            "reward_spread": float(np.mean(spread)) if spread else 0.0,
            "answer_tokens": float(np.mean([rollout.tokens.size for rollout in rollouts])),
            "cut_off": float(np.mean([rollout.is_cut_off for rollout in rollouts])),
            "alike": sum(not has_variance(group.rewards or ()) for group in self.groups) / len(self.groups),
            "entropy": float(np.mean(entropies)) if entropies else 0.0,
        }
        names = {name: None for group in self.groups for name in group.parts}
        if len(names) > 1:
            told |= {f"reward_{name}": _mean_part(self.groups, name) for name in names}
        return told


class RoundCollector:
    """Draws and judges the answers of one round after the other.

    Args:
        store: keeps groups when they are drawn, and again when they are judged.
        seed: of the run.
    """

    def __init__(
        self,
        questions: Sequence[RewardedQuestion],
        sampler: GroupSampler,
        rewards: Rewards,
        store: RolloutStore,
        settings: RolloutSettings,
        seed: int,
    ) -> None:
        self._questions, self._sampler, self._rewards = questions, sampler, rewards
        self._store, self._settings, self._seed = store, settings, seed

    def collect(self, round_number: int, rows: Sequence[int], cancel: Cancel) -> RolloutRound:
        """Return the groups of `rows` in this round.

        Raises:
            PromptError, FitError, EngineError: what befell a question.
            RewardError: a reward cannot judge; the answers are kept.
            OutputError: the disk refuses.
            Interrupted: `cancel` was set; what was drawn is kept.
        """
        known = self._store.groups(round_number)
        for wave in self._waves(rows):
            if not all(row in known for row in wave):
                for group in self._drawn(round_number, wave, cancel):
                    self._store.add(round_number, group)
                    known[group.question] = group
        for row in rows:
            if known[row].rewards is None:
                known[row] = self._judged(known[row])
                self._store.add(round_number, known[row])
        groups = tuple(known[row] for row in rows)
        values = advantages([group.rewards or () for group in groups], self._settings.advantage_scale)
        return RolloutRound(groups, tuple(values))

    def _waves(self, rows: Sequence[int]) -> list[Sequence[int]]:
        """Rows that are drawn together, whatever is known: beside others log-probabilities differ in their last bits."""
        size = max(1, _AT_ONCE // self._settings.group_size)
        return [rows[begin : begin + size] for begin in range(0, len(rows), size)]

    def _drawn(self, round_number: int, wave: Sequence[int], cancel: Cancel) -> list[RolloutGroup]:
        asked = {row: self._questions[row] for row in wave}
        groups = list(self._sampler.groups(asked, f"{self._seed}/{round_number}", cancel))
        return sorted(groups, key=lambda group: wave.index(group.question))

    def _judged(self, group: RolloutGroup) -> RolloutGroup:
        question = self._questions[group.question]
        answers = [JudgedAnswer(question.prompt, each.text, question.columns) for each in group.rollouts]
        scores = self._rewards.scores(answers)
        parts: Mapping[str, tuple[float | None, ...]] = {
            name: tuple(numbers) for name, numbers in scores.parts.items()
        }
        return dataclasses.replace(group, rewards=tuple(scores.totals), parts=parts)


def _judged(group: RolloutGroup) -> list[float]:
    return [reward for reward in group.rewards or () if reward is not None]


def _mean_part(groups: Sequence[RolloutGroup], name: str) -> float:
    numbers = [number for group in groups for number in group.parts.get(name, ()) if number is not None]
    return float(np.mean(numbers)) if numbers else 0.0
