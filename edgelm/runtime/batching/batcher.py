"""The door: tasks in, results out, by the widest batch that is exact and fits.

A network whose sequences cannot be computed together is asked one prompt after the other, through the engine.
Lives on the engine thread, one for each loaded model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing

import mlx.core as mx

from edgelm import device, log
from edgelm.model.load import LoadedModel
from edgelm.pricing.batch_budget import MOST_ROWS, Budget, batch_budget_bytes
from edgelm.pricing.chunks import Chunks, chunks_for
from edgelm.pricing.fit import DEFAULT_CONTEXT_TOKENS, attention_heads
from edgelm.pricing.memory_plan import MemoryPlan
from edgelm.runtime.batching.batch import Batch
from edgelm.runtime.batching.exactness import Batching, find_batching
from edgelm.runtime.batching.lanes import CHUNKS
from edgelm.runtime.batching.prompts import Task
from edgelm.runtime.batching.reply import Voice
from edgelm.runtime.batching.results import BatchEvent, BatchProgress, BatchResult
from edgelm.runtime.batching.waiting import WaitingRoom, failed
from edgelm.runtime.engine import Engine
from edgelm.runtime.generation.completion import collect
from edgelm.runtime.generation.text import generate_text
from edgelm.runtime.requests import Cancel
from edgelm.zoo.caches.leaves import MakeLayers


class Batcher:
    """Answers many prompts with one model.

    Args:
        engine: what answers one prompt alone.
        make_layers: makes the network's caches, of the engine's kind.
        memory: what its caches take.
        check_fit: refuse a prompt that would not fit in memory.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        engine: Engine,
        make_layers: MakeLayers,
        memory: MemoryPlan,
        *,
        check_fit: bool = True,
    ) -> None:
        self._loaded = loaded
        self._engine = engine
        self._make_layers = make_layers
        self._memory = memory
        self._check_fit = check_fit
        self._voice = Voice(loaded.tokenizer, loaded.vocab_size, loaded.context_length, loaded.stop_tokens)
        self._batching: Batching | None = None

    def run(self, tasks: Sequence[Task], cancel: Cancel, *, rows: int | None = None) -> Iterator[BatchEvent]:
        """Answer `tasks`: a `BatchResult` for each as it ends, and `BatchProgress` now and then.

        Args:
            rows: at most so many at once; None is what the machine can take, up to 32.
        """
        shape = self._memory.account.cache
        if shape is None or rows == 1 or len(tasks) == 1 or self._find_batching() == "none":
            return self._one_by_one(tasks, cancel)
        mx.reset_peak_memory()
        size_bytes = batch_budget_bytes(device.detect(), mx.get_active_memory())
        budget = Budget(rows or MOST_ROWS, size_bytes, shape, self._memory.account.weights.float_bytes)
        waiting = WaitingRoom(tasks, self._voice, cancel, self._check_fits)
        pads = self._find_batching() == "prompts"
        chunks = self._chunks(size_bytes)
        network = self._loaded.network
        return Batch(network, self._make_layers, waiting, budget, cancel, pads=pads, chunks=chunks).events()

    def _chunks(self, size_bytes: int) -> Chunks:
        """As for one prompt, as long as a chunk's workspace takes no more than the caches of the batch may."""
        account = self._memory.account
        if account.device.backend == "cpu":
            return CHUNKS
        chunks = chunks_for(account.device, attention_heads(account.config))
        return chunks.capped(self._memory.chunk_within(DEFAULT_CONTEXT_TOKENS, chunks.near, size_bytes))

    def _check_fits(self, tokens: int) -> None:
        if self._check_fit:
            self._memory.chunk_for(tokens, CHUNKS.near)

    def _find_batching(self) -> Batching:
        if self._batching is None:
            self._batching = find_batching(self._loaded.network, self._make_layers, self._loaded.vocab_size)
            log.logger.info("%s computes together: %s", self._loaded.name, self._batching)
        return self._batching

    def _one_by_one(self, tasks: Sequence[Task], cancel: Cancel) -> Iterator[BatchEvent]:
        started, tokens = time.perf_counter(), 0
        yield BatchProgress(0, len(tasks), 1, 0, 0.0)
        for done, task in enumerate(tasks, 1):
            result = self._alone(task, cancel)
            if cancel.is_set():
                return
            tokens += result.completion.usage.completion_tokens if result.completion else 0
            yield result
            yield BatchProgress(done, len(tasks), 1, tokens, time.perf_counter() - started)

    def _alone(self, task: Task, cancel: Cancel) -> BatchResult:
        voice = self._voice
        try:
            ids = task.encode(voice.tokenizer)
            with closing(
                generate_text(
                    self._engine,
                    voice.tokenizer,
                    ids,
                    task.options,
                    cancel,
                    stop_tokens=voice.stop_tokens,
                    tools=task.tools,
                )
            ) as events:
                return BatchResult(task.index, collect(events, task.options.grammar))
        except Exception as error:  # noqa: BLE001 - the result of this prompt; the others go on
            return failed(task.index, error)
