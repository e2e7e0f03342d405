"""How the next token is chosen: the settings, validated when built.

`edgelm.runtime.sampling.sampler` makes the sampler of them. Apart from it, so that `edgelm chat --help` knows the
settings without importing MLX.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgelm.errors import OptionError
from edgelm.options import Options, option


@dataclass(frozen=True)
class Sampling(Options):
    """Settings of the sampler. The defaults are greedy decoding.

    Raises:
        OptionError: a setting outside what it may be.
    """

    temperature: float = option(0.0, "randomness; 0 takes the likeliest token", ge=0, le=100)
    top_p: float = option(1.0, "keep the likeliest tokens that reach this probability; 1 is off", gt=0, le=1)
    top_k: int = option(0, "keep this many tokens; 0 is off, more than the vocabulary is all of it", ge=0)
    min_p: float = option(0.0, "keep tokens at least this fraction as likely as the likeliest", ge=0, le=1)
    repetition_penalty: float = option(
        1.0, "divide the scores of recent tokens, the prompt's too (arXiv:1909.05858); 1 is off", gt=0, le=100
    )
    repetition_window: int = option(64, "tokens that the repetition penalty looks back on", ge=1)
    presence_penalty: float = option(0.0, "lower the scores of tokens already generated", ge=-2, le=2)
    frequency_penalty: float = option(0.0, "the same, for each time it was generated", ge=-2, le=2)
    seed: int | None = option(None, "makes sampling reproducible", ge=0, lt=2**64)
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the scores of these token ids."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "logit_bias", _check_bias(self.logit_bias))

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0 or self.top_k == 1

    @property
    def is_plain(self) -> bool:
        """Whether the likeliest token is taken as the network gives it."""
        penalties = (self.presence_penalty, self.frequency_penalty)
        return self.is_greedy and not (self.logit_bias or self.repetition_penalty != 1 or any(penalties))

    def check_vocab(self, vocab_size: int) -> None:
        """Refuse a logit bias on tokens that do not exist.

        Raises:
            OptionError: an id outside the vocabulary.
        """
        for token in self.logit_bias:
            if token >= vocab_size:
                raise OptionError(f"logit_bias names token {token}, expected less than {vocab_size}")


def _check_bias(bias: object) -> dict[int, float]:
    if not isinstance(bias, Mapping):
        raise OptionError(f"logit_bias is {bias!r}, expected token ids with numbers")
    for token, value in bias.items():
        if isinstance(token, bool) or not isinstance(token, int) or token < 0:
            raise OptionError(f"logit_bias names {token!r}, expected a token id")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise OptionError(f"logit_bias of token {token} is {value!r}, expected a finite number")
    return dict(bias)
