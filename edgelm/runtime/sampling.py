"""How the next token is chosen: settings, validated when built, and the sampler they make.

Order, as in Hugging Face transformers: logit bias, repetition penalty, presence and frequency penalties,
temperature, top-k, top-p, min-p; each filter works on what the one before left. Randomness comes from a key
of the request's own, so the same seed gives the same tokens whatever else runs. Knows nothing about models.

Shapes: V vocab, K candidates left by top-k.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import mlx.core as mx

from edgelm.errors import OptionError
from edgelm.options import Options, option
from edgelm.runtime.processors import Processor, make_processors

_COLDEST = 1e-6  # a lower temperature would divide by what float32 holds as zero


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

    def check_vocab(self, vocab_size: int) -> None:
        """Refuse a logit bias on tokens that do not exist.

        Raises:
            OptionError: an id outside the vocabulary.
        """
        for token in self.logit_bias:
            if token >= vocab_size:
                raise OptionError(f"logit_bias names token {token}, expected less than {vocab_size}")


class Sampler:
    """Chooses the tokens of one request; lazily, so that the next step can be built before this one is read.

    Args:
        sampling: the settings.
        prompt: the prompt's ids, which the repetition penalty counts.
        vocab_size: columns of the logits.
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int], vocab_size: int) -> None:
        self._sampling = sampling
        self._processors: list[Processor] = make_processors(
            prompt,
            vocab_size,
            bias=sampling.logit_bias,
            repetition=sampling.repetition_penalty,
            window=sampling.repetition_window,
            presence=sampling.presence_penalty,
            frequency=sampling.frequency_penalty,
        )
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self._key = mx.random.key(seed)

    def sample(self, logits: mx.array) -> mx.array:
        """The chosen token, unevaluated: `[1, V]` logits → `[1]` ids."""
        for processor in self._processors:
            logits = processor.apply(logits)
        token = mx.argmax(logits, axis=-1) if self._sampling.is_greedy else self._draw(logits)
        for processor in self._processors:
            processor.observe(token)
        return token

    def _draw(self, logits: mx.array) -> mx.array:
        self._key, key = mx.random.split(self._key)
        chosen = self._sampling
        scaled = logits.astype(mx.float32) / max(chosen.temperature, _COLDEST)
        kept, ids = keep_likeliest(scaled, chosen.top_k, chosen.top_p, chosen.min_p)
        choice = mx.random.categorical(kept, axis=-1, key=key)  # [1]
        return choice if ids is None else mx.take_along_axis(ids, choice[:, None], axis=-1)[:, 0]


def keep_likeliest(
    logits: mx.array, top_k: int, top_p: float, min_p: float
) -> tuple[mx.array, mx.array | None]:
    """Apply top-k, top-p (arXiv:1904.09751) and min-p (arXiv:2407.01082), in that order.

    Exactly `top_k` tokens stay, ties included; the likeliest token always stays.

    Returns:
        `[1, K]` logits, with -inf for what was dropped, and the ids `[1, K]` of its columns, or None if
        they are still those of the vocabulary.
    """
    ids = None
    vocab_size = logits.shape[-1]
    if 0 < top_k < vocab_size:
        ids = mx.argpartition(-logits, kth=top_k - 1, axis=-1)[:, :top_k]
        logits = mx.take_along_axis(logits, ids, axis=-1)
    if top_p < 1:
        order = mx.argsort(-logits, axis=-1)
        logits = mx.take_along_axis(logits, order, axis=-1)
        ids = order if ids is None else mx.take_along_axis(ids, order, axis=-1)
        probs = mx.softmax(logits, axis=-1)
        mass_before = mx.cumsum(probs, axis=-1, inclusive=False)
        logits = mx.where(mass_before < top_p, logits, -mx.inf)
    if min_p > 0:
        floor = mx.max(logits, axis=-1, keepdims=True) + math.log(min_p)
        logits = mx.where(logits >= floor, logits, -mx.inf)
    return logits, ids


def _check_bias(bias: object) -> dict[int, float]:
    if not isinstance(bias, Mapping):
        raise OptionError(f"logit_bias is {bias!r}, expected token ids with numbers")
    for token, value in bias.items():
        if isinstance(token, bool) or not isinstance(token, int) or token < 0:
            raise OptionError(f"logit_bias names {token!r}, expected a token id")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise OptionError(f"logit_bias of token {token} is {value!r}, expected a finite number")
    return dict(bias)
