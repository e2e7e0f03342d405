"""What prompts begin with in common (a system prompt, few-shot examples), computed once for all of them.

It lies in the prefix pool beside what was computed of other requests, alone or together, in memory and on the disk. Only
prompts of one variant share.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import mlx.core as mx

from edgelm.pricing.chunks import ChunkSizes
from edgelm.runtime.batching.batch_cache import CHUNKS
from edgelm.runtime.cache.pool import Pool, common_prefix
from edgelm.runtime.prefill import Chunk
from edgelm.runtime.runner import Layers, ModelRunner
from edgelm.runtime.sequence import ActiveRequest

WORTH_TOKENS = 32
"""Saved over all prompts: less costs more to copy than to compute."""


class SharedPrefixes:
    """The beginnings of prompts that wait together.

    Args:
        runner: calls the network.
        pool: what is known of any prompt.
        chunks: prompt tokens computed at once.
    """

    def __init__(self, runner: ModelRunner, pool: Pool, chunks: ChunkSizes = CHUNKS) -> None:
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

    def stem(self, first: ActiveRequest, others: Sequence[ActiveRequest]) -> list[int]:
        """Return what the prompt of `first` shares with others of its variant beyond what is known of it; empty where
        it is not worth computing.
        """
        variant = first.variant.key
        if first.request.n > 1:  # its siblings have all of it in common, whoever else shares a part
            others = [other for other in others if other.request is first.request]
        return shared_stem(
            first.keys,
            [other.keys for other in others if other.variant.key == variant],
            known=self.known(variant, first.keys),
            worth=1 if first.request.n > 1 else WORTH_TOKENS,
        )

    def learn(self, first: ActiveRequest, keys: Sequence[int]) -> Generator[Chunk, None, Layers]:
        """Compute the beginning `keys` of the prompt of `first`, chunk by chunk, and put it into the pool."""
        variant = first.variant.key
        layers, known = self._pool.load(variant, keys)
        rest = mx.array([first.ids[known : len(keys)]])
        for underway, (done,) in self._runner.of([first.variant]).in_chunks(rest, layers, self._chunks):
            yield underway, [known + done]
        self._pool.store(variant, keys, layers)
        return layers


def shared_stem(
    prompt: Sequence[int], others: Sequence[Sequence[int]], *, known: int = 0, worth: int = WORTH_TOKENS
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
