"""One decoding step: logits to a token that is still being computed, and to what is reported of it.

Knows nothing about caches or stopping.

Shapes: V vocab, N alternatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm.runtime.events import Alternative, Token
from edgelm.runtime.sampler import Sampler


@dataclass(frozen=True, slots=True)
class Step:
    """A token under way."""

    ids: mx.array
    """The token, [1]; the input of the next step."""
    logprob: mx.array | None = None
    """Of the token, [1, 1]."""
    top_ids: mx.array | None = None
    """The N likeliest tokens, [1, N], unsorted."""
    top_logprobs: mx.array | None = None

    @classmethod
    def build(cls, logits: mx.array, sampler: Sampler, logprobs: int | None) -> Step:
        """Choose from logits `[1, V]`, lazily.

        Log-probabilities are the model's own: before bias, penalties, temperature and filters.
        """
        ids = sampler.sample(logits)
        if logprobs is None:
            return cls(ids)
        logits = logits.astype(mx.float32)
        scores = logits - mx.logsumexp(logits, axis=-1, keepdims=True)  # [1, V]
        chosen = mx.take_along_axis(scores, ids[:, None], axis=-1)
        count = min(logprobs, scores.shape[-1])
        if not count:
            return cls(ids, chosen)
        top = mx.argpartition(-scores, kth=count - 1, axis=-1)[:, :count]
        return cls(ids, chosen, top, mx.take_along_axis(scores, top, axis=-1))

    def start(self) -> None:
        """Begin to compute it; returns at once."""
        arrays = (self.ids, self.logprob, self.top_ids, self.top_logprobs)
        mx.async_eval([array for array in arrays if array is not None])  # type: ignore[no-untyped-call]

    def read(self) -> Token:
        """Wait for it."""
        token: Any = self.ids.item()
        if self.logprob is None:
            return Token(token)
        logprob: Any = self.logprob.item()
        return Token(token, logprob, self._alternatives())

    def _alternatives(self) -> tuple[Alternative, ...]:
        if self.top_ids is None or self.top_logprobs is None:
            return ()
        ids: Any = self.top_ids[0].tolist()
        scores: Any = self.top_logprobs[0].tolist()
        pairs = sorted(zip(scores, ids, strict=True), key=lambda pair: (-pair[0], pair[1]))
        return tuple(Alternative(token, score) for score, token in pairs)
