"""One request served by itself: its prompt in chunks, then token after token, with speculation.

What is known of the prompt, from the sequence before, the pool or the disk, is not computed again; chunks end where a
snapshot is worth keeping. Decoding is in `decode.py`. Every `next` of `steps` is one chunk or one token.

Shapes: T prompt tokens of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

import mlx.core as mx

from edgelm.pricing.chunks import Chunks
from edgelm.runtime.cache.live import LiveCache
from edgelm.runtime.decode import Decoder
from edgelm.runtime.prefill import Underway
from edgelm.runtime.runner import ModelRunner
from edgelm.runtime.sequence import ActiveRequest
from edgelm.runtime.speculation.speculator import Speculator

_TAIL = 32  # tokens before a prompt's end where a snapshot is kept: templates rewrite only the last few


class AloneRun:
    """Serves one request.

    Args:
        runner: calls the network.
        live: the caches; what they hold of the prompt is used.
        active: the request; what it has said already, served beside others, is part of the prompt.
        variant: what caches are known by beside their tokens.
        chunks: prompt tokens computed at once.
        speculate: makes what guesses ahead, once the prompt is computed; None where nothing does.
    """

    def __init__(
        self,
        runner: ModelRunner,
        live: LiveCache,
        active: ActiveRequest,
        *,
        variant: str,
        chunks: Chunks,
        speculate: Callable[[ActiveRequest], Speculator | None],
    ) -> None:
        self._runner = runner.of([active.variant])
        self._live = live
        self._active = active
        self._variant = variant
        self._chunks = chunks
        self._speculate = speculate
        self._underway = Underway()

    def steps(self) -> Generator[None, None, None]:
        """Serve it, until it has ended or leaves to go on beside others."""
        active = self._active
        mx.reset_peak_memory()
        known = self._live.begin(active.keys, self._variant)
        active.begin(known)
        yield
        yield from self._prefill(known)
        if active.cancel.is_set():
            active.finish()
            try:
                yield
            finally:
                self._settle()
            return
        speculator = self._speculate(active)
        is_over = yield from Decoder(self._runner, self._live, active, speculator).steps()
        if speculator is not None:
            active.drafted += speculator.drafted
            active.accepted += speculator.accepted
        if is_over:
            active.finish()

    def _prefill(self, known: int) -> Iterator[None]:
        """Compute all tokens but the last, whose logits begin the answer."""
        ids = self._active.ids
        places = self._snapshot_places(known)
        for start, end in chunk_bounds(known, len(ids) - 1, self._chunks.at, places):
            if self._active.cancel.is_set():
                return
            self._runner.feed(mx.array([ids[start:end]]), self._live.layers)
            self._live.fed(self._active.keys[start:end])
            if not self._underway.compute(self._live.layers, self._active.cancel.is_set):
                return
            if end in places:
                self._live.snapshot()
            self._active.prefilled(end)
            yield
        mx.clear_cache()  # once a prompt: its chunks use the same buffers

    def _settle(self) -> None:
        """Compute what is left of a chunk: the caches have its tokens already. The reader was told of the end before."""
        self._underway.settle()
        mx.clear_cache()

    def _snapshot_places(self, known: int) -> set[int]:
        """List where a later prompt may part from this one: ends of messages, a little before the end, the end."""
        if not self._live.needs_snapshots:
            return set()
        ids, stops = self._active.ids, self._active.request.stop_tokens
        last = len(ids) - 1
        # Chat templates end messages with the tokens that end replies.
        ends = [place for place in range(known + 1, last) if ids[place - 1] in stops]
        return {place for place in (*ends[-2:], last - _TAIL, last) if place > known}


def chunk_bounds(
    start: int, last: int, size_at: Callable[[int], int], places: set[int]
) -> Iterator[tuple[int, int]]:
    """Yield where chunks of `start` to `last` begin and end; one ends at each of `places`."""
    while start < last:
        end = min([start + size_at(start), last, *(place for place in places if place > start)])
        yield start, end
        start = end
