"""Rewards by what people write, those among them that need a model too (`edgelm.rewards.registry` knows none)."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path

from edgelm.device import Device
from edgelm.model.load import LoadedModel
from edgelm.pricing.weight_bytes import price_weights
from edgelm.rewards.combined import Rewards
from edgelm.rewards.registry import read_rewards
from edgelm.rewards.reward import Reward
from edgelm.tune.reward_model.model import RewardModel, find_reward_adapter
from edgelm.tune.reward_model.reward import model_reward
from edgelm.zoo.configs.normalise import normalise_config, read_config
from edgelm.zoo.weights.files import read_headers


def read_all_rewards(
    texts: Sequence[str],
    *,
    log: Path | None = None,
    beside: Callable[[], LoadedModel | None] = lambda: None,
    loaded: MutableMapping[Path, RewardModel] | None = None,
) -> Rewards:
    """Make the weighted sum of the rewards that are written in `texts`; no model is loaded before it scores.

    Args:
        log: where the output of a file's function goes.
        beside: gives the model that is loaded already, when a reward needs one.
        loaded: keeps reward models, by the directory of their adapter, for the next time.

    Raises:
        OptionError, NotFoundError, FormatError, RewardError, UnsupportedError: see `read_rewards` and `find_reward_adapter`.
    """
    return read_rewards(
        texts, log=log, more={"model": lambda argument: model_reward(argument, beside, loaded)}
    )


def reward_models_bytes(texts: Sequence[str], model: Path, device: Device) -> int:
    """Price the weights that the reward models among `texts` take on `device` beside those of the model in `model`.

    For what is raised see `read_all_rewards`.
    """
    bases: set[Path] = set()

    def noted(argument: str) -> Reward:
        bases.add(find_reward_adapter(argument).base.resolve())
        return model_reward(argument)

    if not texts:
        return 0
    read_rewards(texts, more={"model": noted}).close()
    return sum(
        price_weights(read_headers(base), normalise_config(read_config(base)), device).loaded_bytes
        for base in bases - {model.resolve()}
    )
