"""How answers are sampled and judged while a network is trained on them."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.errors import OptionError
from edgelm.options import Options, option


@dataclass(frozen=True)
class RolloutSettings(Options):
    """How many answers to how many prompts, how they are drawn, and what becomes of their rewards.

    Raises:
        OptionError: a setting outside what it may be.
    """

    group_size: int = option(8, "answers to each prompt, which are compared with each other", ge=2, le=1024)
    prompts_per_step: int = option(4, "prompts answered before the weights change", ge=1, le=4096)
    updates_per_round: int = option(1, "updates of the weights on the same answers", ge=1, le=64)
    answer_tokens: int = option(256, "the longest answer, in tokens", ge=1)
    temperature: float = option(1.0, "randomness of the answers", gt=0, le=100)
    top_p: float = option(1.0, "keep the likeliest tokens that reach this probability; 1 is off", gt=0, le=1)
    top_k: int = option(0, "keep this many tokens; 0 is off", ge=0)
    mask_overlong: bool = option(False, "do not train answers that were cut off at the longest")
    scale: str = option(
        "group",
        "what advantages are divided by: the standard deviation of rewards in their group, in the whole step, or nothing",
        choices=("group", "step", "none"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k == 1:
            raise OptionError("top_k is 1, so that all answers of a group would be one", settings=("top_k",))
