"""The engine: token ids in, events out. It knows nothing about text.

One request at a time, on the thread that owns MLX. The prompt is computed in chunks, so that a cancel lands quickly and
memory stays flat; what is known of it, from this sequence, the pool or the disk, is not computed again. Decoding is in
`decode.py`, what is kept between requests in `cache/`.

Shapes: T prompt tokens of a chunk, V vocab.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgelm import log
from edgelm.errors import EdgeLMError, EngineError, FitError, OutputError
from edgelm.machine.gpu.watchdog import watchdog_error
from edgelm.pricing.chunks import Chunks
from edgelm.pricing.memory_plan import MemoryPlan
from edgelm.runtime.cache.live import LiveCache
from edgelm.runtime.cache.pool import Pool
from edgelm.runtime.decode import Decoder, Outcome
from edgelm.runtime.events import EngineEvent, Finished, Prefill, Usage
from edgelm.runtime.prefill import Underway
from edgelm.runtime.requests import Cancel, Request, check_request, token_budget
from edgelm.runtime.runner import ModelRunner
from edgelm.runtime.speculation.draft_model import DraftModel
from edgelm.runtime.speculation.governor import MOST, Governor
from edgelm.runtime.speculation.speculator import Speculator
from edgelm.zoo.caches.leaves import MakeLayers
from edgelm.zoo.caches.settings import CacheSettings
from edgelm.zoo.fixes.longrope import regime_of

_TAIL = 32  # tokens before a prompt's end where a snapshot is kept: templates rewrite only the last few


class Engine:
    """Generates with one network.

    Args:
        network: an mlx-lm model: `logits[1, T, V] = network(ids[1, T], cache=layers)`.
        vocab_size: ids the network has embeddings for.
        context_length: most tokens of prompt and answer together; None is without limit.
        prefill_chunk: prompt tokens computed at once, or a policy; fewer where memory is short.
        pool: makes the caches and keeps them between requests; None is a small one in memory.
        draft_model: a smaller model that guesses ahead.
        memory: what a prompt may take; None is not checked.
        most_guesses: that speculation may check at once.
        variant: names the adapters that are on: caches of one variant are never used for another.
    """

    def __init__(
        self,
        network: Any,
        *,
        vocab_size: int,
        context_length: int | None = None,
        prefill_chunk: int | Chunks = 512,
        pool: Pool | None = None,
        draft_model: DraftModel | None = None,
        memory: MemoryPlan | None = None,
        most_guesses: int = MOST,
        variant: Callable[[], str] = str,
    ) -> None:
        self._runner = ModelRunner(network)
        self._vocab_size = vocab_size
        self._context_length = context_length
        if isinstance(prefill_chunk, int):
            prefill_chunk = Chunks(prefill_chunk, prefill_chunk)
        self._chunks = prefill_chunk
        self._pool = pool or Pool(caches_of(network), budget_bytes=_SMALL_POOL_BYTES)
        self._pool_bytes = self._pool.budget_bytes
        self._live = LiveCache(self._pool)
        self._governor = Governor()
        self._draft_model = draft_model
        self._memory = memory
        self._most_guesses = most_guesses
        self._variant = variant
        self._is_refused = False
        self._long_rope = regime_of(network) if isinstance(network, nn.Module) else None

    def generate(self, request: Request, cancel: Cancel) -> Generator[EngineEvent, None, None]:
        """Yield `Prefill`s, `Token`s and one `Finished`. Closing it early leaves the engine ready.

        Raises:
            PromptError: tokens the model cannot take.
            OptionError: settings this vocabulary does not allow.
            FitError: the prompt would not fit in memory.
            EngineError: MLX failed; the next request starts with an empty cache.
        """
        check_request(request, vocab_size=self._vocab_size, context_length=self._context_length)
        chunk = self._make_room(len(request.prompt))
        with self._guarded(), self._turned_for(request):
            yield from _Run(self, request, cancel, chunk).events()

    @contextmanager
    def _turned_for(self, request: Request) -> Iterator[None]:
        """LongRoPE turns keys by how long the sequence is, and they stay in the cache.

        A prompt within the original context ends there; one beyond it is computed with the long factors from its start.
        """
        if self._long_rope is None:
            yield
            return
        with self._long_rope.of(len(request.prompt) >= self._long_rope.limit):
            yield

    def _variant_now(self) -> str:
        is_long = self._long_rope is not None and self._long_rope.is_long
        return self._variant() + ("+long" if is_long else "")

    def _limit(self) -> int | None:
        """Most tokens of prompt and answer together, as things are turned now."""
        if self._long_rope is None or self._long_rope.is_long:
            return self._context_length
        return min(self._long_rope.limit, self._context_length or self._long_rope.limit)

    def _make_room(self, tokens: int) -> int:
        """The most prompt tokens to compute at once; what is kept of other prompts goes where this one needs the memory."""
        wanted = self._chunks.near
        if self._memory is None:
            return wanted
        chunk = self._memory.chunk_for(tokens, wanted)
        self._pool.limit(min(self._pool_bytes, self._memory.slack_bytes(tokens, chunk)))
        return chunk

    def reset(self) -> None:
        """Drop all that is kept between requests and give its memory back; files stay."""
        self._live.reset()
        self._pool.reset()
        if self._draft_model is not None:
            self._draft_model.reset()
        mx.clear_cache()

    def persist(self) -> None:
        """Write what the last request computed to the disk, if the pool has one; that a disk refuses is said once."""
        try:
            self._live.persist()
        except OutputError as error:  # a cache that is not written costs time later, not the answer now
            level = logging.INFO if self._is_refused else logging.WARNING
            log.logger.log(level, "the prompt cache was not written: %s", error.message)
            self._is_refused = True

    @property
    def step_prices(self) -> dict[int, float]:
        """What a step costs by the tokens it computes, in plain steps, as far as it has been measured."""
        return dict(self._governor.prices())

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """After any failure, what is in the cache is unknown: drop it."""
        try:
            yield
        except GeneratorExit:  # the consumer left, between two steps
            raise
        except (RuntimeError, ValueError, MemoryError) as error:  # what MLX raises
            self.reset()
            raise _translated(error) from error
        except BaseException:
            self.reset()
            raise


_SMALL_POOL_BYTES = 256 << 20


class _Run:
    """One request under way."""

    def __init__(self, engine: Engine, request: Request, cancel: Cancel, chunk: int) -> None:
        self._engine = engine
        self._runner = engine._runner
        self._live = engine._live
        self._chunks = engine._chunks.capped(chunk)
        self._request = request
        self._cancel = cancel
        self._prompt = list(request.prompt)
        self._underway = Underway()
        self._began = time.perf_counter()

    def events(self) -> Iterator[EngineEvent]:
        mx.reset_peak_memory()
        self._cached = self._live.begin(self._prompt, self._engine._variant_now())
        yield Prefill(self._cached, len(self._prompt), self._cached)
        yield from self._prefill()
        if self._cancel.is_set():
            try:
                yield self._finished(Outcome(), None)
            finally:
                self._settle()
            return
        speculator = self._speculator()
        budget = token_budget(self._request, self._engine._limit())
        decoder = Decoder(
            self._runner, self._live, self._request, self._cancel, budget=budget, speculator=speculator
        )
        for token in decoder.tokens():
            if len(decoder.outcome.tokens) == 1:
                yield self._prompt_done()
            yield token
        if not decoder.outcome.tokens:
            yield self._prompt_done()
        yield self._finished(decoder.outcome, speculator)

    def _prompt_done(self) -> Prefill:
        return Prefill(len(self._prompt), len(self._prompt), self._cached)

    def _prefill(self) -> Iterator[EngineEvent]:
        """All prompt tokens but the last, whose logits begin the answer."""
        places = self._snapshot_places()
        for start, end in _chunks(self._cached, len(self._prompt) - 1, self._chunks.at, places):
            if self._cancel.is_set():
                return
            chunk = self._prompt[start:end]
            self._runner.feed(mx.array([chunk]), self._live.layers)
            self._live.fed(chunk)
            if not self._underway.compute(self._live.layers, self._cancel.is_set):
                return
            if end in places:
                self._live.snapshot()
            yield Prefill(end, len(self._prompt), self._cached)
        mx.clear_cache()  # once a prompt: its chunks use the same buffers

    def _settle(self) -> None:
        """Compute what is left of a chunk: the caches have its tokens already. The reader was told of the end before."""
        self._underway.settle()
        mx.clear_cache()

    def _snapshot_places(self) -> set[int]:
        """Where a later prompt may part from this one: ends of messages, a little before the end, the end."""
        if not self._live.needs_snapshots:
            return set()
        last = len(self._prompt) - 1
        stops = self._request.stop_tokens
        # Chat templates end messages with the tokens that end replies.
        ends = [place for place in range(self._cached + 1, last) if self._prompt[place - 1] in stops]
        return {place for place in (*ends[-2:], last - _TAIL, last) if place > self._cached}

    def _speculator(self) -> Speculator | None:
        engine = self._engine
        if not self._request.speculation or not engine._most_guesses:
            return None
        if engine._draft_model is not None:
            engine._draft_model.begin(self._prompt, self._cancel)
        return Speculator(engine._governor, self._prompt, engine._draft_model, most=engine._most_guesses)

    def _finished(self, outcome: Outcome, speculator: Speculator | None) -> Finished:
        first = outcome.first_token_at or time.perf_counter()
        usage = Usage(
            prompt_tokens=len(self._prompt),
            cached_tokens=self._cached,
            completion_tokens=len(outcome.tokens) + (outcome.matched is not None),
            prefill_s=first - self._began,
            first_token_s=first - self._began if outcome.first_token_at else 0.0,
            decode_s=outcome.last_token_at - outcome.first_token_at,
            peak_memory_bytes=mx.get_peak_memory(),
            drafted_tokens=speculator.drafted if speculator else 0,
            accepted_tokens=speculator.accepted if speculator else 0,
        )
        return Finished(outcome.reason, usage, outcome.matched, tuple(outcome.tokens))


def _chunks(
    start: int, last: int, size_at: Callable[[int], int], places: set[int]
) -> Iterator[tuple[int, int]]:
    """Where chunks of `start` to `last` begin and end; one ends at each of `places`."""
    while start < last:
        end = min([start + size_at(start), last, *(place for place in places if place > start)])
        yield start, end
        start = end


def caches_of(network: Any, settings: CacheSettings | None = None) -> MakeLayers:
    """What makes the network's caches, of the kind in `settings`; mlx_lm is imported here and not before."""
    from edgelm.zoo.caches.maker import layer_maker

    return layer_maker(network, settings)


def _translated(error: Exception) -> EdgeLMError:
    if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
        return FitError(
            f"memory ran out: {error or 'the system refused'}",
            hint="the model is ready again; shorten the prompt, close other programs, or keep a smaller KV cache"
            " (--kv-bits 8, --max-context)",
        )
    stopped = watchdog_error(error, "the answer", "a shorter prompt")
    return stopped or EngineError(f"generation failed: {error}")


_OUT_OF_MEMORY = (
    "malloc",
    "Unable to allocate",
    "out of memory",
    "Insufficient Memory",
    "maximum allowed buffer size",
)
