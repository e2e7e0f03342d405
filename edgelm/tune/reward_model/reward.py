"""A reward model as a reward among others: `--reward model:NAME`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
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
        loaded: keeps reward models for the next time; None keeps this one until `close`.
    """

    def __init__(
        self,
        found: RewardAdapter,
        beside: Callable[[], LoadedModel | None] = lambda: None,
        loaded: MutableMapping[Path, RewardModel] | None = None,
    ) -> None:
        self.name = f"model-{found.name}"
        self._found, self._beside = found, beside
        self._loaded = {} if loaded is None else loaded

    def score(self, answers: Sequence[JudgedAnswer]) -> list[float | None]:
        """Return the score of each answer.

        Raises:
            RewardError: an answer cannot be read.
            FormatError, UnsupportedError, FitError: the reward model cannot be loaded.
        """
        key = self._found.adapter.directory.resolve()
        if key not in self._loaded:
            self._loaded[key] = RewardModel.load(self._found, beside=self._beside())
        return [*self._loaded[key].scores([_conversation(answer) for answer in answers])]

    def close(self) -> None:
        """Let the model go, unless it is kept."""
        self._loaded = {}


def model_reward(
    argument: str,
    beside: Callable[[], LoadedModel | None] = lambda: None,
    loaded: MutableMapping[Path, RewardModel] | None = None,
) -> Reward:
    """Make the reward of `model:ARGUMENT`. For what is raised see `find_reward_adapter`.

    Raises:
        OptionError: no reward model is named.
    """
    if not argument:
        raise OptionError("the reward model is given no name, expected model:NAME", settings=("reward",))
    return ModelReward(find_reward_adapter(argument), beside, loaded)


def _conversation(answer: JudgedAnswer) -> list[Mapping[str, Any]]:
    """The messages to score; a prompt of text alone is a user's, as in rows of preferences."""
    asked = answer.prompt
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else list(asked)
    return [*messages, {"role": "assistant", "content": answer.text}]
