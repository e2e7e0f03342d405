"""A batch over tiny networks, and the engine alone beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import pytest

from edgelm.pricing.batch_budget import Budget
from edgelm.runtime.batching.batch_cache import CHUNKS
from edgelm.runtime.batching.exactness import Batching, find_batching
from edgelm.runtime.cache.pool import Pool
from edgelm.runtime.engine import Engine
from edgelm.runtime.generation.completion import Completion, collect
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.text import Voice, generate_text
from edgelm.runtime.many.prompts import AnyPrompt, read_prompts
from edgelm.runtime.many.results import BatchEvent, BatchProgress, BatchResult
from edgelm.runtime.many.run import ManyPrompts
from edgelm.zoo.caches.maker import layer_maker
from edgelm.zoo.caches.shape import trace_cache

VOCAB = 259  # what the tests' tokenizer knows; the networks have embeddings for 300
STOP = frozenset({256})


class Watched:
    """A network, and what was fed to it."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self.shapes: list[tuple[int, ...]] = []
        self.most_bytes = 0
        self.before: Callable[[mx.array], None] = lambda _: None

    def __call__(self, ids: mx.array, cache: Any) -> mx.array:
        self.before(ids)
        self.shapes.append(ids.shape)
        logits: mx.array = self._network(ids, cache=cache)
        if ids.shape[0] > 1 and ids.shape[1] == 1:  # a window holds a whole chunk until the next token
            self.most_bytes = max(self.most_bytes, sum(layer.nbytes for layer in cache))
        return logits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


class Plan:
    """What memory allows: every prompt that `check_fits` does not refuse."""

    def __init__(self, check_fits: Callable[[int], object]) -> None:
        self._check_fits = check_fits

    def chunk_for(self, tokens: int, wanted: int) -> int:
        self._check_fits(tokens)
        return wanted

    def slack_bytes(self, tokens: int, chunk: int) -> int:
        return 1 << 30


class FixedSharing:
    """So many rows and bytes, however many the machine could take."""

    def __init__(self, batching: Batching, budget: Budget, *, compiles: bool = False) -> None:
        self.batching = lambda: batching
        self.budget = lambda: budget
        self.chunks = lambda: CHUNKS
        self.mixes = lambda _: True
        self.compiles = lambda: compiles


class Running:
    """A run over many prompts on an engine that nobody else uses."""

    def __init__(self, engine: Engine, many: ManyPrompts) -> None:
        self.engine = engine
        self._many = many

    def events(self) -> Iterator[BatchEvent]:
        for event in self._many.events():
            if event is None:
                self.engine.scheduler.step()
            else:
                yield event


class Bench:
    """Runs prompts together, and alone."""

    def __init__(self, network: Any, tokenizer: Any, context_length: int | None = 200) -> None:
        self.network = Watched(network)
        self.tokenizer = tokenizer
        self.context_length = context_length
        self.cancel = threading.Event()
        self.progress: list[BatchProgress] = []
        self.check_fits: Callable[[int], object] = lambda _: None

    def engine(self, *, rows: int = 8, size_bytes: int = 1 << 30, **options: Any) -> Engine:
        """One whose requests may share steps."""
        make = layer_maker(self.network._network)
        shape = trace_cache(self.network._network)
        assert shape is not None
        batching = find_batching(self.network, make, VOCAB)
        self.network.shapes.clear()
        options = {
            "pool": Pool(make, budget_bytes=1 << 28),
            "memory": Plan(self.check_fits),
            "vocab_size": VOCAB,
            **options,
        }
        return Engine(
            self.network,
            context_length=self.context_length,
            sharing=FixedSharing(batching, Budget(rows, size_bytes, shape, 4)),  # type: ignore[arg-type]
            **options,
        )

    def batch(
        self, prompts: Sequence[AnyPrompt], *, rows: int = 8, size_bytes: int = 1 << 30, **settings: Any
    ) -> Running:
        tasks, errors = read_prompts(prompts, GenerationOptions().changed(**settings))
        assert not errors
        engine = self.engine(rows=rows, size_bytes=size_bytes)
        return Running(engine, ManyPrompts(engine.scheduler, Voice(self.tokenizer, STOP), tasks, self.cancel))

    def together(self, prompts: Sequence[AnyPrompt], **settings: Any) -> dict[int, BatchResult]:
        """Results by index."""
        results = {}
        for event in self.batch(prompts, **settings).events():
            if isinstance(event, BatchResult):
                assert event.index not in results
                results[event.index] = event
            else:
                self.progress.append(event)
        return results

    def alone(self, prompts: Sequence[AnyPrompt], **settings: Any) -> dict[int, Completion]:
        """Completions by index."""
        tasks, _ = read_prompts(prompts, GenerationOptions().changed(**settings))
        engine = Engine(self.network._network, vocab_size=VOCAB, context_length=self.context_length)
        found = {}
        for task in tasks:
            ids = task.encode(self.tokenizer)
            found[task.index] = collect(
                generate_text(engine, self.tokenizer, ids, task.options, threading.Event(), stop_tokens=STOP)
            )
        return found


@pytest.fixture
def bench(tokenizer: Any) -> Callable[..., Bench]:
    return lambda network, **options: Bench(network, tokenizer, **options)
