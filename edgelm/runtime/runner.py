"""The only place that calls a network: prefill, one step, and the check of guesses.

One sequence or several side by side, as the caches say. Prompts are computed chunk by chunk and layer by layer (`prefill.py`),
so that a stop is heard early. Rows may be of different variants: `of` says which adapters act on which. Knows nothing about
requests, sampling and where caches come from.

Shapes: B sequences, T tokens, K guesses, V vocab.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import mlx.core as mx

from edgelm.adapters.acting.rows import Acting, RowGroups
from edgelm.adapters.acting.variant import Variant
from edgelm.pricing.chunks import ChunkSizes
from edgelm.runtime.prefill import Chunk, Underway, finish
from edgelm.zoo.protocol import Network

Layers = list[Any]
"""One cache for each layer of the network."""


class ModelRunner:
    """Calls one network.

    Args:
        network: makes the logits.
        acting: what the network's adapters heed; None where it has none.
    """

    def __init__(self, network: Network, acting: Acting | None = None) -> None:
        self.network = network
        self._acting = acting
        self._groups: RowGroups | None = None

    def of(self, rows: Sequence[Variant]) -> ModelRunner:
        """Return a runner of the same network whose calls have these rows, each with the adapters of its variant."""
        runner = ModelRunner(self.network, self._acting)
        runner._groups = RowGroups(rows) if rows else None
        return runner

    def step(self, ids: mx.array, layers: Layers) -> mx.array:
        """Feed one token of each sequence, `[B]`; the logits of what follows, `[B, V]`, not yet computed."""
        return self._logits(ids[:, None], layers)[:, -1, :]

    def check(self, tokens: Sequence[int], layers: Layers) -> mx.array:
        """Feed the last token and K guesses of one sequence; the logits after each, `[1 + K, V]`, not yet computed."""
        return self._logits(mx.array([list(tokens)]), layers)[0]

    def feed(self, ids: mx.array, layers: Layers) -> None:
        """Put tokens `[B, T]` into the caches, lazily; their logits are never evaluated."""
        self._logits(ids, layers)

    def prefill(
        self,
        ids: mx.array,
        layers: Layers,
        chunks: ChunkSizes,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Compute tokens `[B, T]`, all of one length, in chunks.

        Returns:
            False if cancelled on the way; what was begun of a chunk that is broken off is nobody's.
        """
        return finish(self.in_chunks(ids, layers, chunks), is_cancelled) is not None

    def in_chunks(self, ids: mx.array, layers: Layers, chunks: ChunkSizes) -> Generator[Chunk, None, Layers]:
        """Build tokens `[B, T]`, all of one length, a chunk with every `next`, each to be computed before the one after it.

        Returns:
            `layers`.
        """
        at, (rows, length) = 0, ids.shape
        while at < length:
            size = max(2, chunks.at(at) // rows)
            self.feed(ids[:, at : at + size], layers)
            at = min(at + size, length)
            yield Underway(layers), [at] * rows
        mx.clear_cache()  # once a prompt: its chunks use the same buffers
        return layers

    def _logits(self, ids: mx.array, layers: Layers) -> mx.array:
        if self._acting is None or self._groups is None:
            return self.network(ids, cache=layers)
        with self._acting.on(self._groups, ids.shape[1]):
            return self.network(ids, cache=layers)
