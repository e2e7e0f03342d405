"""The sampler: logits in, a token out.

Order, as in Hugging Face transformers: logit bias, repetition penalty, presence and frequency penalties,
temperature, top-k, top-p, min-p; each filter works on what the one before left. Randomness comes from a key
of the request's own, so the same seed gives the same tokens whatever else runs. Knows nothing about models.

Shapes: V vocab, K candidates left by top-k.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence

import mlx.core as mx

from edgelm.runtime.processors import Processor, make_processors
from edgelm.runtime.sampling import Sampling

_COLDEST = 1e-6  # a lower temperature would divide by what float32 holds as zero


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
