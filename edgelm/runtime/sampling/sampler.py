"""The sampler: logits in, tokens out, for one position or for several at once.

Order, as in Hugging Face transformers: logit bias, repetition penalty, presence and frequency penalties, what a
constraint allows, temperature, top-k, top-p, min-p; each filter works on what the one before left.

Every position of an answer has a random key of its own, and a token is drawn by adding that key's Gumbel noise to the
logits and taking the largest (Gumbel-max: exactly the softmax's distribution). So the token of a position depends on
the seed, the position and the logits alone. That makes speculation exact at any temperature: a draft stands if it is the
token that would have been drawn there anyway, whoever guessed it and however many were guessed at once (drafter-invariant
speculation, arXiv:2408.07978). Knows nothing about models.

Shapes: N positions, V vocab, K candidates left by top-k.
"""

from __future__ import annotations

import copy
import math
import secrets
from collections.abc import Callable, Sequence

import mlx.core as mx

from edgelm.runtime.sampling.processors import Processor, Said, make_processors
from edgelm.runtime.sampling.settings import Sampling

_COLDEST = 1e-6  # a lower temperature would divide by what float32 holds as zero


class Sampler:
    """Chooses the tokens of one request; lazily, so that the next step can be built before this one is read.

    Args:
        sampling: the settings.
        prompt: the prompt's ids, which the repetition penalty counts.
        vocab_size: columns of the logits.
        said: tokens that the reply has already.
        seed: of its noise; None is that of the settings, or one of its own.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        vocab_size: int,
        *,
        said: Sequence[int] = (),
        seed: int | None = None,
    ) -> None:
        self.vocab_size = vocab_size
        self._sampling = sampling
        self._processors = processors_of(sampling, vocab_size)
        for processor in self._processors:
            processor.seat([], [Said(prompt, said)])
        seed = sampling.seed if seed is None else seed
        self._key = key_after(secrets.randbits(63) if seed is None else seed, len(said))
        self._noise: list[mx.array] = []
        """Keys of the positions ahead, nearest first."""

    def sample(self, logits: mx.array, allowed: mx.array | None = None) -> mx.array:
        """Return the token of the next position, unevaluated: `[1, V]` logits → `[1]` ids.

        Args:
            allowed: `[1, V]` bool: what a constraint lets through; at least one token.
        """
        ids, _ = self._choose(self._processed(logits), allowed)
        self.advance(ids)
        return ids

    def sample_scored(self, logits: mx.array, allowed: mx.array | None = None) -> tuple[mx.array, mx.array]:
        """Return as `sample`, and the log-probability `[1]` that the token was drawn with."""
        ids, kept = self._choose(self._processed(logits), allowed)
        self.advance(ids)
        return ids, logprobs_of(kept, ids)

    def peek(
        self,
        logits: mx.array,
        drafts: Sequence[int],
        allowed: mx.array | None = None,
        *,
        after: Sequence[mx.array] = (),
    ) -> mx.array:
        """Return what each position would take if the drafts before it stood; nothing moves on.

        Args:
            logits: `[N, V]`, of N ≤ 1 + len(drafts) positions.
            drafts: the token after each position but the last.
            allowed: `[N, V]` bool.
            after: tokens `[1]` from the next position on that are taken for granted, perhaps still being computed;
                the first row follows them.

        Returns:
            `[N]` ids, unevaluated. Those up to and including the first that is not its draft hold.
        """
        return self._choose(self._processed(logits, drafts, after), allowed, skip=len(after))[0]

    def advance(self, ids: mx.array) -> None:
        """Note that the tokens `[N]` were taken."""
        if self._processors:
            for at in range(ids.shape[0]):
                _observe(self._processors, ids[at : at + 1])
        del self._noise[: ids.shape[0]]

    def _processed(
        self, logits: mx.array, drafts: Sequence[int] = (), after: Sequence[mx.array] = ()
    ) -> mx.array:
        """Bias and penalties; each row as if `after` and the drafts before it had been taken."""
        if not self._processors:
            return logits
        ahead = [copy.copy(processor) for processor in self._processors]
        for token in after:
            _observe(ahead, token)
        rows = []
        for at in range(logits.shape[0]):
            row = logits[at : at + 1]
            for processor in ahead:
                row = processor.apply(row)
            rows.append(row)
            if at < len(drafts):
                _observe(ahead, mx.array([drafts[at]]))
        return mx.concatenate(rows)

    def _choose(
        self, logits: mx.array, allowed: mx.array | None, *, skip: int = 0
    ) -> tuple[mx.array, mx.array | None]:
        return choose(self._sampling, logits, allowed, lambda: self._gumbel(*logits.shape, skip=skip))

    def _gumbel(self, positions: int, vocab_size: int, *, skip: int) -> mx.array:
        """Noise `[N, V]` of N positions after `skip`; the same again until they are advanced over."""
        while len(self._noise) < skip + positions:
            self._key, key = mx.random.split(self._key)
            self._noise.append(key)
        keys = self._noise[skip : skip + positions]
        return mx.stack([mx.random.gumbel((vocab_size,), key=key) for key in keys])


def key_after(seed: int, tokens: int) -> mx.array:
    """Return the key `[2]` that the noise of the position after so many tokens comes from."""
    key = mx.random.key(seed)
    for _ in range(tokens):
        key, _ = mx.random.split(key)
    return key


def processors_of(sampling: Sampling, vocab_size: int) -> list[Processor]:
    """Return what these settings do to logits; no reply is seated yet."""
    return make_processors(
        vocab_size,
        bias=sampling.logit_bias,
        repetition=sampling.repetition_penalty,
        window=sampling.repetition_window,
        presence=sampling.presence_penalty,
        frequency=sampling.frequency_penalty,
    )


def choose(
    sampling: Sampling, logits: mx.array, allowed: mx.array | None, noise: Callable[[], mx.array]
) -> tuple[mx.array, mx.array | None]:
    """Draw tokens `[N]` from processed logits `[N, V]`, each row by itself.

    Returns:
        The tokens, and the logits `[N, V]` of the distribution they were drawn from; None where the likeliest is taken.

    Args:
        allowed: `[N, V]` bool.
        noise: makes `[N, V]` of Gumbel noise, if any is needed.
    """
    if allowed is not None:
        logits = mx.where(allowed, logits, -mx.inf)
    if sampling.is_greedy:
        return mx.argmax(logits, axis=-1), None
    scaled = logits.astype(mx.float32) / max(sampling.temperature, _COLDEST)
    kept = keep_likeliest(scaled, sampling.top_k, sampling.top_p, sampling.min_p)
    return mx.argmax(kept + noise(), axis=-1), kept


def logprobs_of(logits: mx.array | None, ids: mx.array) -> mx.array:
    """Return the natural-log probabilities `[N]` of tokens `[N]` under logits `[N, V]`; 0 without any, of a sure choice."""
    if logits is None:
        return mx.zeros(ids.shape, dtype=mx.float32)
    logits = logits.astype(mx.float32)
    chosen = mx.take_along_axis(logits, ids[:, None], axis=-1)[:, 0]
    return chosen - mx.logsumexp(logits, axis=-1)


def _observe(processors: Sequence[Processor], token: mx.array) -> None:
    for processor in processors:
        processor.observe(token)


def keep_likeliest(logits: mx.array, top_k: int, top_p: float, min_p: float) -> mx.array:
    """Apply top-k, top-p (arXiv:1904.09751) and min-p (arXiv:2407.01082), in that order.

    Exactly `top_k` tokens stay, ties included; the likeliest token always stays.

    Returns:
        `[N, V]` logits, with -inf for what was dropped.
    """
    vocab_size = logits.shape[-1]
    ids = None  # columns of the candidates, [N, K]; None is all of the vocabulary
    kept = logits
    if 0 < top_k < vocab_size:
        ids = mx.argpartition(-logits, kth=top_k - 1, axis=-1)[:, :top_k]
        kept = mx.take_along_axis(logits, ids, axis=-1)
    if top_p < 1:
        order = mx.argsort(-kept, axis=-1)
        kept = mx.take_along_axis(kept, order, axis=-1)
        ids = order if ids is None else mx.take_along_axis(ids, order, axis=-1)
        mass_before = mx.cumsum(mx.softmax(kept, axis=-1), axis=-1, inclusive=False)
        kept = mx.where(mass_before < top_p, kept, -mx.inf)
    if min_p > 0:
        floor = mx.max(kept, axis=-1, keepdims=True) + math.log(min_p)
        kept = mx.where(kept >= floor, kept, -mx.inf)
    if ids is None:
        return kept
    return mx.put_along_axis(mx.full(logits.shape, -mx.inf, dtype=kept.dtype), ids, kept, axis=-1)
