"""What the network is worth on questions that it is not trained on: its likeliest answers, judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgelm.rewards.combined import Rewards
from edgelm.rewards.reward import JudgedAnswer
from edgelm.runtime.requests import Cancel
from edgelm.tune.rollouts.asked_data import AskedData
from edgelm.tune.rollouts.sampling import GroupSampler


@dataclass(frozen=True)
class HeldOutRewards:
    """Asks and judges; call it."""

    data: AskedData
    sampler: GroupSampler
    rewards: Rewards
    cancel: Cancel

    def __call__(self) -> tuple[int, Mapping[str, float]]:
        """Return how many tokens were answered, and the mean of the rewards, in all and by name.

        Raises:
            PromptError, FitError, EngineError, RewardError, Interrupted: see `RoundCollector.collect`.
        """
        asked = dict(enumerate(self.data.questions))
        groups = sorted(self.sampler.likeliest(asked, self.cancel), key=lambda group: group.question)
        answers = [group.rollouts[0] for group in groups]
        scores = self.rewards.scores(
            [
                JudgedAnswer(asked[group.question].prompt, answer.text, asked[group.question].columns)
                for group, answer in zip(groups, answers, strict=True)
            ]
        )
        told = {"reward": _mean(scores.totals)}
        if len(scores.parts) > 1:
            told |= {f"reward_{name}": _mean(numbers) for name, numbers in scores.parts.items()}
        told["answer_tokens"] = sum(answer.tokens.size for answer in answers) / max(1, len(answers))
        return sum(answer.tokens.size for answer in answers), told


def _mean(numbers: list[float | None]) -> float:
    judged = [number for number in numbers if number is not None]
    return sum(judged) / len(judged) if judged else 0.0
