"""Which loss a run trains, and its numbers."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgelm.errors import OptionError
from edgelm.options import Options, option
from edgelm.tune.objectives.registry import OBJECTIVES

if TYPE_CHECKING:
    from edgelm.tune.objectives.objective import Objective

_BETA = 0.1
"""TRL's default for every loss of preferences."""
_PAIRS = tuple(name for name in OBJECTIVES if name not in ("sft", "kto", "reward", "grpo"))
_READ_BY: Mapping[str, tuple[str, ...]] = {
    "beta": (*_PAIRS, "kto", "grpo"),
    "label_smoothing": ("dpo", "robust", "cpo", "simpo"),
    "sft_weight": tuple(name for name in _PAIRS if name != "orpo"),
    "gamma": ("simpo",),
    "desirable_weight": ("kto",),
    "undesirable_weight": ("kto",),
    "center_rewards": ("reward",),
    "normaliser": ("grpo",),
    "epsilon": ("grpo",),
    "epsilon_high": ("grpo",),
    "importance": ("grpo",),
    "rollout_tokens": ("grpo",),
}
"""Setting → the losses that read it."""
_SFT_WEIGHTS: Mapping[str, float] = {"orpo": 1.0, "cpo": 1.0, "cpo_hinge": 1.0, "cpo_ipo": 1.0}
"""The weight of the supervised term where it is part of the loss; 0 for the others."""


@dataclass(frozen=True)
class ObjectiveSettings(Options):
    """What the network learns from the data.

    Raises:
        OptionError: a setting outside what it may be, or one that the loss does not read.
    """

    loss: str = option(
        "sft",
        "what is learnt: sft imitates the answers; kto learns from verdicts, grpo from rewards of answers that it draws, "
        "the others from pairs of answers, reward to score them",
        choices=tuple(OBJECTIVES),
    )
    beta: float | None = option(
        None,
        "how closely a loss of preferences holds to its reference, or how steep it is; default 0.1, for grpo 0",
        gt=0,
    )
    label_smoothing: float = option(
        0.0,
        "the share of pairs that are taken to be the wrong way round (dpo, robust, cpo, simpo)",
        ge=0,
        lt=0.5,
    )
    sft_weight: float | None = option(
        None, "weight of imitating the chosen answers beside it, by token; default 1 for cpo, else 0", ge=0
    )
    gamma: float = option(0.5, "the margin that simpo asks for", ge=0)
    desirable_weight: float = option(1.0, "weight of desirable answers (kto)", ge=0)
    undesirable_weight: float = option(1.0, "weight of undesirable answers (kto)", ge=0)
    center_rewards: float = option(
        0.0, "weight of keeping the scores of a reward model near 0 (reward); 0.01 is usual", ge=0
    )
    normaliser: str = option(
        "dapo",
        "what grpo divides by: each answer's tokens (grpo), all tokens (dapo), the longest possible answer (dr_grpo)",
        choices=("grpo", "dapo", "dr_grpo"),
    )
    epsilon: float = option(0.2, "how far below 1 an importance ratio counts (grpo)", ge=0, lt=1)
    epsilon_high: float | None = option(None, "how far above 1 (grpo); default as far as below", ge=0)
    importance: str = option("token", "what an importance ratio is of (grpo)", choices=("token", "sequence"))
    rollout_tokens: int = option(256, "the longest answer that is drawn, in tokens (grpo)", ge=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, losses in _READ_BY.items():
            value = getattr(self, name)
            if value != type(self).__dataclass_fields__[name].default and self.loss not in losses:
                raise OptionError(
                    f"{name} is {value!r}, but the loss {self.loss} does not read it, only {', '.join(losses)}",
                    settings=(name,),
                )

    @property
    def chosen_beta(self) -> float:
        """The beta that is used."""
        return _BETA if self.beta is None else self.beta

    @property
    def chosen_sft_weight(self) -> float:
        """The weight of the supervised term that is used."""
        return _SFT_WEIGHTS.get(self.loss, 0.0) if self.sft_weight is None else self.sft_weight


def make_objective(settings: ObjectiveSettings) -> Objective:
    """Make the objective that the settings ask for; its module is imported now."""
    module, _, kind = OBJECTIVES[settings.loss].rpartition(".")
    made: Objective = getattr(importlib.import_module(f"edgelm.tune.objectives.{module}"), kind)(settings)
    return made
