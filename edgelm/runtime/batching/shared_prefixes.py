"""What prompts begin with in common (a system prompt, few-shot examples), computed once for all of them.

It lies in the prefix pool beside what was computed of other requests, alone or together, in memory and on the disk. Only
prompts of one variant share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx

from edgelm.pricing.chunks import Chunks
from edgelm.runtime.batching.batch_cache import CHUNKS
from edgelm.runtime.cache.pool import Pool, common_prefix
from edgelm.runtime.runner import Layers, ModelRunner
from edgelm.runtime.sequence import ActiveRequest

_WORTH_TOKENS = 32
"""Saved over all prompts: less costs more to copy than to compute."""


class SharedPrefixes:
    """The beginnings of prompts that wait together.

    Args:
        runner: calls the network.
        pool: what is known of any prompt.
        chunks: prompt tokens computed at once.
    """

    def __init__(self, runner: ModelRunner, pool: Pool, chunks: Chunks = CHUNKS) -> None:
        self._runner = runner
        self._pool = pool
        self._chunks = chunks

    def known(self, variant: str, prompt: Sequence[int]) -> int:
        """Return how many tokens of `prompt`, its last left out, need no computing."""
        return self._pool.match(variant, prompt[:-1]).length

    def starts(self, group: Sequence[ActiveRequest]) -> tuple[list[Layers], list[int]]:
        """Return caches to begin each prompt from, and how many of its tokens they hold.

        Prompts of one variant that begin alike share theirs, which must not be written to.
        """
        loaded: dict[tuple[str, tuple[int, ...]], Layers] = {}
        starts, known = [], []
        for active in group:
            variant, prompt = active.variant.key, active.keys
            tokens = tuple(prompt[: self.known(variant, prompt)])
            if (variant, tokens) not in loaded:
                layers, length = self._pool.load(variant, tokens)
                tokens = tokens[:length]  # less where a file of it was gone or broken
                loaded[variant, tokens] = layers
            starts.append(loaded[variant, tokens])
            known.append(len(tokens))
        return starts, known

    def look_for(
        self,
        first: ActiveRequest,
        others: Sequence[ActiveRequest],
        is_cancelled: Callable[[], bool],
    ) -> None:
        """Compute what the prompt of `first` shares with others of its variant, if that is worth it, beyond what is known."""
        variant = first.variant.key
        keys = shared_stem(
            first.keys,
            [other.keys for other in others if other.variant.key == variant],
            known=self.known(variant, first.keys),
            worth=1 if first.request.n > 1 else _WORTH_TOKENS,
        )
        if not keys:
            return
        layers, known = self._pool.load(variant, keys)
        rest = mx.array([first.ids[known : len(keys)]])
        if self._runner.of([first.variant]).prefill(rest, layers, self._chunks, is_cancelled):
            self._pool.store(variant, keys, layers)


def shared_stem(
    prompt: Sequence[int], others: Sequence[Sequence[int]], *, known: int = 0, worth: int = _WORTH_TOKENS
) -> list[int]:
    """Return the beginning of `prompt` that saves most tokens if it is computed once; empty if none is worth it.

    It leaves at least one token of each prompt that begins with it.

    Args:
        known: tokens of the beginning that need no computing.
        worth: tokens that have to be saved over all prompts.
    """
    most = len(prompt) - 1
    shared = sorted(
        (min(common_prefix(prompt, other), len(other) - 1, most) for other in others), reverse=True
    )
    gains = [((length - known) * count, length) for count, length in enumerate(shared, 1)]
    saved, length = max(gains, default=(0, 0))
    return list(prompt[:length]) if saved >= worth else []
