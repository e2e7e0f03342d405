"""A reward model as a reward among others: `--reward model:NAME`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgelm.errors import OptionError
from edgelm.model.load import LoadedModel
from edgelm.rewards.reward import JudgedAnswer, Reward
from edgelm.tune.reward_model.model import RewardAdapter, RewardModel, find_reward_adapter


class ModelReward(Reward):
    """The score of a reward model, which is loaded when it scores first, on the thread that does.

    Args:
        found: the reward model on the disk.
        beside: gives the model that is loaded already, when the reward model is loaded; see `RewardModel.load`.
    """

    def __init__(self, found: RewardAdapter, beside: Callable[[], LoadedModel | None] = lambda: None) -> None:
        self.name = f"model-{found.name}"
        self._found, self._beside = found, beside
        self._model: RewardModel | None = None

    def score(self, answers: Sequence[JudgedAnswer]) -> list[float | None]:
        """Return the score of each answer.

        Raises:
            RewardError: an answer cannot be read.
            FormatError, UnsupportedError, FitError: the reward model cannot be loaded.
        """
        if self._model is None:
            self._model = RewardModel.load(self._found, beside=self._beside())
        return [*self._model.scores([_conversation(answer) for answer in answers])]

    def close(self) -> None:
        """Let the model go."""
        self._model = None


def model_reward(argument: str, beside: Callable[[], LoadedModel | None] = lambda: None) -> Reward:
    """Make the reward of `model:ARGUMENT`. For what is raised see `find_reward_adapter`.

    Raises:
        OptionError: no reward model is named.
    """
    if not argument:
        raise OptionError("the reward model is given no name, expected model:NAME", settings=("reward",))
    return ModelReward(find_reward_adapter(argument), beside)


def _conversation(answer: JudgedAnswer) -> list[Mapping[str, Any]]:
    """The messages to score; a prompt of text alone is a user's, as in rows of preferences."""
    asked = answer.prompt
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else list(asked)
    return [*messages, {"role": "assistant", "content": answer.text}]
