"""The engine: token ids in, events out. It knows nothing about text.

It holds what the requests of one network have in common (caches, prices of steps, a draft model, memory), says what this
model cannot do, and guards what is kept against failures. Requests go through its `scheduler`. Lives on the thread that owns
MLX.

Shapes: T prompt tokens of a chunk, V vocab.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn

from edgelm import log
from edgelm.adapters.acting.rows import Acting
from edgelm.adapters.acting.variant import Variant
from edgelm.adapters.use import AdapterUse
from edgelm.errors import EdgeLMError, EngineError, FitError, OutputError, UnsupportedError
from edgelm.machine.gpu.watchdog import watchdog_error
from edgelm.pricing.chunks import Chunks
from edgelm.pricing.memory_plan import MemoryPlan
from edgelm.runtime.alone import AloneRun
from edgelm.runtime.batching.rows import Rows
from edgelm.runtime.batching.sharing import Sharing
from edgelm.runtime.cache.live import LiveCache
from edgelm.runtime.cache.pool import Pool
from edgelm.runtime.events import EngineEvent
from edgelm.runtime.many.groups import AnswerGroup, answer_groups
from edgelm.runtime.requests import Cancel, Request, check_request
from edgelm.runtime.runner import ModelRunner
from edgelm.runtime.scheduler import Scheduler
from edgelm.runtime.sequence import ActiveRequest
from edgelm.runtime.speculation.draft_model import DraftModel
from edgelm.runtime.speculation.governor import MOST, Governor
from edgelm.runtime.speculation.speculator import Speculator
from edgelm.zoo.caches.leaves import MakeLayers
from edgelm.zoo.caches.settings import CacheSettings
from edgelm.zoo.fixes.longrope import regime_of


class Variants(Protocol):
    """The adapters of one network: an `AdapterStack`."""

    @property
    def acting(self) -> Acting:
        """What the modules of the network heed."""

    def variant_of(self, uses: Sequence[AdapterUse] | None) -> Variant:
        """Return the network with the adapters that a request names, read where they are not in memory."""


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
        sharing: how many requests may share steps; None is one after the other.
        variants: the adapters of the network; None where it has none.
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
        sharing: Sharing | None = None,
        variants: Variants | None = None,
    ) -> None:
        self._variants = variants
        self._runner = ModelRunner(network, variants.acting if variants else None)
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
        self._sharing = sharing
        self._is_refused = False
        self._long_rope = regime_of(network) if isinstance(network, nn.Module) else None
        self.scheduler = Scheduler(self._admit, self._alone, self._live, self._make_rows)

    def generate(self, request: Request, cancel: Cancel) -> Generator[EngineEvent, None, None]:
        """Yield `Prefill`s, `Token`s and one `Finished`. Closing it early leaves the engine ready.

        Raises:
            PromptError: tokens the model cannot take.
            OptionError: settings this vocabulary does not allow.
            FitError: the prompt would not fit in memory.
            EngineError: MLX failed; the next request starts with an empty cache.
        """
        with closing(self.scheduler.generate(request, cancel)) as events:
            for event in events:
                if event is None:
                    self.scheduler.step()
                else:
                    yield event

    def answer(self, requests: Sequence[Request], cancel: Cancel) -> Generator[AnswerGroup, None, None]:
        """Answer every request `n` times, nobody else being served; yield each group when it is complete, fewer if cancelled.

        What a request meets is in its group. With `scored`, `Finished.scores` has the log-probabilities of every token.
        """
        with closing(answer_groups(self.scheduler, requests, cancel)) as groups:
            for group in groups:
                if group is None:
                    self.scheduler.step()
                else:
                    yield group

    def _admit(self, request: Request, cancel: Cancel, most_rows: int | None, number: int) -> ActiveRequest:
        check_request(request, vocab_size=self._vocab_size, context_length=self._context_length)
        if self._memory is not None:
            self._memory.chunk_for(len(request.prompt), self._chunks.near)
        return ActiveRequest(
            request,
            cancel,
            context_length=self._context_length,
            most_rows=most_rows,
            number=number,
            variant=self._variant_of(request),
        )

    def _variant_of(self, request: Request) -> Variant:
        if self._variants is None:
            if request.adapters:
                raise UnsupportedError("this engine serves a network without adapters")
            return Variant()
        try:
            return self._variants.variant_of(request.adapters)
        except (RuntimeError, ValueError, MemoryError) as error:  # MLX's, while it reads one
            raise _translated(error) from error

    def _alone(self, active: ActiveRequest) -> Generator[None, None, None]:
        chunk = self._make_room(len(active.ids))
        with self._guarded(), self._turned_for(active):
            active.limit(self._limit())
            yield from AloneRun(
                self._runner,
                self._live,
                active,
                variant=active.variant.key + self._turning(),
                chunks=self._chunks.capped(chunk),
                speculate=self._speculator,
            ).steps()

    def _speculator(self, active: ActiveRequest) -> Speculator | None:
        if not active.request.speculation or active.request.scored or not self._most_guesses:
            return None
        draft_model = self._draft_model if active.keys is active.ids else None  # a draft sees no media
        if draft_model is not None:
            draft_model.begin(active.ids, active.cancel)
        return Speculator(self._governor, active.ids, draft_model, most=self._most_guesses)

    def _make_rows(self) -> Rows | None:
        """What serves several requests; None where this network cannot compute them together."""
        if self._sharing is None or (batching := self._sharing.batching()) == "none":
            return None
        return Rows(
            self._runner,
            self._pool,
            self._sharing.budget,
            mixes=self._sharing.mixes,
            pads=batching == "prompts",
            chunks=self._sharing.chunks(),
            compiles=self._sharing.compiles(),
        )

    @contextmanager
    def _turned_for(self, active: ActiveRequest) -> Iterator[None]:
        """LongRoPE turns keys by how long the sequence is, and they stay in the cache.

        A prompt within the original context ends there; one beyond it is computed with the long factors from its start.
        """
        if self._long_rope is None:
            yield
            return
        with self._long_rope.of(active.prompt_tokens >= self._long_rope.limit):
            yield

    def _turning(self) -> str:
        """What tells caches of keys that are turned by the long factors from others."""
        return "+long" if self._long_rope is not None and self._long_rope.is_long else ""

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
        """Write what the last requests computed to the disk, if the pool has one; that a disk refuses is said once."""
        with self._as_disk_allows():
            self._live.persist()
            self.scheduler.persist()

    def step(self) -> None:
        """Go on with those who are served, and write a little of what was computed for several to the disk."""
        self.scheduler.step()
        if self.scheduler.has_unwritten:
            with self._as_disk_allows():
                self.scheduler.write_some()

    @contextmanager
    def _as_disk_allows(self) -> Iterator[None]:
        try:
            yield
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


def caches_of(network: Any, settings: CacheSettings | None = None) -> MakeLayers:
    """Return what makes the network's caches, of the kind in `settings`; mlx_lm is imported here and not before."""
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
