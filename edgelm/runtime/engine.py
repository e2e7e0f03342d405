"""The engine: token ids in, events out. It knows nothing about text.

One request at a time, on the thread that owns MLX. The prompt is computed in chunks, so that a cancel lands
quickly and memory stays flat; then each step is built and started before the token of the one before it is
read, so that the device never waits for Python. Between requests the KV cache is kept (`PrefixCache`).

Shapes: T prompt tokens of a chunk, V vocab.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm.errors import EngineError
from edgelm.runtime.events import EngineEvent, Finished, FinishReason, Prefill, Usage
from edgelm.runtime.prefix import PrefixCache
from edgelm.runtime.requests import Cancel, Request, check_request, token_budget
from edgelm.runtime.sampler import Sampler
from edgelm.runtime.steps import Step

_CLEAR_EVERY = 256  # tokens; MLX's buffer cache grows with the KV cache's reallocations
_TAIL = 32  # tokens before a prompt's end where a checkpoint is kept: templates rewrite only the last few


class Engine:
    """Generates with one network.

    Args:
        network: an mlx-lm model: `logits[1, T, V] = network(ids[1, T], cache=layers)`.
        vocab_size: ids the network has embeddings for.
        context_length: most tokens of prompt and answer together; None is without limit.
        prefill_chunk: prompt tokens computed at once.
    """

    def __init__(
        self, network: Any, *, vocab_size: int, context_length: int | None = None, prefill_chunk: int = 512
    ) -> None:
        self._network = network
        self._vocab_size = vocab_size
        self._context_length = context_length
        self._prefill_chunk = prefill_chunk
        self._prefix = PrefixCache(network)

    def generate(self, request: Request, cancel: Cancel) -> Generator[EngineEvent, None, None]:
        """Yield `Prefill`s, `Token`s and one `Finished`. Closing it early leaves the engine ready.

        Raises:
            PromptError: tokens the model cannot take.
            OptionError: settings this vocabulary does not allow.
            EngineError: MLX failed; the next request starts with an empty cache.
        """
        check_request(request, vocab_size=self._vocab_size, context_length=self._context_length)
        with self._guarded():
            yield from _Run(self, request, cancel).events()

    def reset(self) -> None:
        """Drop the KV cache of the last request and give its memory back."""
        self._prefix.reset()
        mx.clear_cache()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """After any failure, what is in the cache is unknown: drop it."""
        try:
            yield
        except GeneratorExit:  # the consumer left, between two steps
            raise
        except (RuntimeError, ValueError) as error:  # what MLX raises
            self.reset()
            raise EngineError(f"generation failed: {error}") from error
        except BaseException:
            self.reset()
            raise


@dataclass
class _Clock:
    """When things happened, in seconds of `time.perf_counter`."""

    started: float
    first_token: float = 0.0  # 0 is never
    last_token: float = 0.0


class _Run:
    """One request under way."""

    def __init__(self, engine: Engine, request: Request, cancel: Cancel) -> None:
        self._network = engine._network
        self._prefix = engine._prefix
        self._chunk = engine._prefill_chunk
        self._request = request
        self._cancel = cancel
        self._prompt = list(request.prompt)
        self._budget = token_budget(request, engine._context_length)
        self._tokens: list[int] = []
        self._clock = _Clock(time.perf_counter())

    def events(self) -> Iterator[EngineEvent]:
        mx.reset_peak_memory()
        self._layers, self._cached = self._prefix.begin(self._prompt)
        yield Prefill(self._cached, len(self._prompt), self._cached)
        yield from self._prefill()
        if self._cancel.is_set():
            yield self._finished("cancelled")
        else:
            yield from self._decode()

    def _prefill(self) -> Iterator[EngineEvent]:
        """All prompt tokens but the last, whose logits begin the answer."""
        last = len(self._prompt) - 1
        early = last - _TAIL
        for start, end in _chunks(self._cached, last, self._chunk, self._early_end(early)):
            if self._cancel.is_set():
                return
            chunk = self._prompt[start:end]
            self._network(mx.array([chunk]), cache=self._layers)  # its logits are never evaluated
            mx.eval([layer.state for layer in self._layers])
            self._prefix.fed(chunk)
            mx.clear_cache()
            if end in (early, last):
                self._prefix.checkpoint()
            yield Prefill(end, len(self._prompt), self._cached)

    def _early_end(self, early: int) -> int | None:
        return early if self._prefix.needs_checkpoints and early > self._cached else None

    def _decode(self) -> Iterator[EngineEvent]:
        self._sampler: Sampler | None = None
        step = self._step(mx.array(self._prompt[-1:]))
        self._prefix.fed(self._prompt[-1:])
        stop_tokens = self._request.stop_tokens
        while True:
            goes_on = self._budget is None or len(self._tokens) + 1 < self._budget
            following = self._step(step.ids) if goes_on else None
            token = step.read()
            if following is not None:
                self._prefix.fed([token.id])
            self._clock.last_token = time.perf_counter()
            if not self._tokens:
                self._clock.first_token = self._clock.last_token
                yield Prefill(len(self._prompt), len(self._prompt), self._cached)
            if token.id in stop_tokens:
                yield self._finished("stop", token.id)
                return
            self._tokens.append(token.id)
            yield token
            if following is None or self._cancel.is_set():
                yield self._finished("length" if following is None else "cancelled")
                return
            step = following
            if len(self._tokens) % _CLEAR_EVERY == 0:
                mx.clear_cache()

    def _step(self, ids: mx.array) -> Step:
        """Feed one token `[1]` and start computing the one after it."""
        logits = self._network(ids[None], cache=self._layers)[:, -1, :]  # [1, V]
        if self._sampler is None:
            self._sampler = Sampler(self._request.sampling, self._prompt, logits.shape[-1])
        step = Step.build(logits, self._sampler, self._request.logprobs)
        step.start()
        return step

    def _finished(self, reason: FinishReason, matched: int | None = None) -> Finished:
        clock = self._clock
        first = clock.first_token or time.perf_counter()
        usage = Usage(
            prompt_tokens=len(self._prompt),
            cached_tokens=self._cached,
            completion_tokens=len(self._tokens) + (matched is not None),
            prefill_s=first - clock.started,
            first_token_s=first - clock.started if clock.first_token else 0.0,
            decode_s=clock.last_token - clock.first_token,
            peak_memory_bytes=mx.get_peak_memory(),
        )
        return Finished(reason, usage, matched, tuple(self._tokens))


def _chunks(start: int, last: int, size: int, early: int | None) -> Iterator[tuple[int, int]]:
    """Where chunks of `start` to `last` begin and end; one ends at `early` if that is given."""
    while start < last:
        bound = early if early is not None and start < early else last
        end = min(start + size, bound)
        yield start, end
        start = end
