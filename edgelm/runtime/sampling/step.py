"""Decoding steps: chosen tokens that are still being computed, and what is reported of them.

Knows nothing about caches or stopping.

Shapes: N positions, V vocab, A alternatives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx

from edgelm.runtime.events import Alternative, Token


@dataclass(frozen=True, slots=True)
class Step:
    """Tokens under way, of one position or of several."""

    ids: mx.array
    """The tokens, [N]."""
    logprobs: mx.array | None = None
    """The log-probabilities of the tokens, [N, 1]."""
    top_ids: mx.array | None = None
    """The A likeliest tokens, [N, A], unsorted."""
    top_logprobs: mx.array | None = None
    scores: mx.array | None = None
    """Log-probabilities of the tokens where they are asked for in arrays, [N, 2]: as drawn, and the model's own."""

    @classmethod
    def build(cls, logits: mx.array, ids: mx.array, logprobs: int | None) -> Step:
        """Return what is reported of `ids` `[N]`, chosen from logits `[N, V]`; lazily.

        Log-probabilities are the model's own: before bias, penalties, temperature and filters.
        """
        if logprobs is None:
            return cls(ids)
        logits = logits.astype(mx.float32)
        scores = logits - mx.logsumexp(logits, axis=-1, keepdims=True)  # [N, V]
        chosen = mx.take_along_axis(scores, ids[:, None], axis=-1)
        count = min(logprobs, scores.shape[-1])
        if not count:
            return cls(ids, chosen)
        top = mx.argpartition(-scores, kth=count - 1, axis=-1)[:, :count]
        return cls(ids, chosen, top, mx.take_along_axis(scores, top, axis=-1))

    def scored(self, sampled: mx.array, model: mx.array) -> Step:
        """Return the same with log-probabilities `[N]` of the tokens: as they were drawn, and the model's own."""
        return replace(self, scores=mx.stack([sampled, model], axis=-1))

    def read_scores(self) -> list[list[float]] | None:
        """Return the pairs of `scores`, of tokens that have been read."""
        if self.scores is None:
            return None
        pairs: Any = self.scores.tolist()
        return [list(pair) for pair in pairs]

    def start(self) -> None:
        """Begin to compute it; returns at once."""
        mx.async_eval(self.arrays)  # type: ignore[no-untyped-call]

    def read(self) -> list[Token]:
        """Wait for it.

        Arrays are read whole and indexed in Python: an index of MLX is a new operation, and one that is built now waits
        behind the step that has been started meanwhile.
        """
        if self.logprobs is None and self.scores is None:
            mx.eval(self.ids)
            plain: Any = self.ids.tolist()
            return list(map(Token, plain))
        mx.eval(self.arrays)
        ids: Any = self.ids.tolist()
        if self.logprobs is None:
            return [Token(token) for token in ids]
        own: Any = self.logprobs.tolist()
        alternatives = self._alternatives()
        return [
            Token(token, logprob, alternatives[at] if alternatives else ())
            for at, (token, (logprob,)) in enumerate(zip(ids, own, strict=True))
        ]

    @property
    def arrays(self) -> list[mx.array]:
        """All that is computed."""
        arrays = (self.ids, self.logprobs, self.top_ids, self.top_logprobs, self.scores)
        return [array for array in arrays if array is not None]

    def _alternatives(self) -> list[tuple[Alternative, ...]]:
        """The alternatives at each position, the likeliest first; none where none were asked for."""
        if self.top_ids is None or self.top_logprobs is None:
            return []
        scores: Any = self.top_logprobs.tolist()
        ids: Any = self.top_ids.tolist()
        return [_sorted(*row) for row in zip(scores, ids, strict=True)]


def _sorted(scores: list[float], ids: list[int]) -> tuple[Alternative, ...]:
    pairs = sorted(zip(scores, ids, strict=True), key=lambda pair: (-pair[0], pair[1]))
    return tuple(Alternative(token, score) for score, token in pairs)
