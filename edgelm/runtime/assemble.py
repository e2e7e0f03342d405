"""Puts the runtime of one loaded model together: its kind of KV cache, its pool in memory and on the disk, its memory
plan, and a smaller model that guesses ahead. Runs on the thread that will own MLX.
"""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm import device as devices
from edgelm import paths
from edgelm.adapters.find import check_uses
from edgelm.adapters.use import AdapterUse
from edgelm.errors import UnsupportedError
from edgelm.machine.open_files import raise_open_files
from edgelm.model.load import LoadedModel, load
from edgelm.pricing.chunks import Chunks, chunks_for
from edgelm.pricing.fit import Account, account_of, trace
from edgelm.pricing.memory_plan import MemoryPlan
from edgelm.pricing.shapes import attention_heads, key_heads
from edgelm.runtime.batching.sharing import Sharing
from edgelm.runtime.cache.disk import DiskCache, default_budget_bytes
from edgelm.runtime.cache.pool import Pool
from edgelm.runtime.engine import Engine, caches_of
from edgelm.runtime.events import ChatEvent
from edgelm.runtime.generation.answers import Numbered, TextAnswers
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.text import TextReply, Voice
from edgelm.runtime.many.prompts import Task
from edgelm.runtime.many.results import BatchEvent
from edgelm.runtime.many.run import ManyPrompts
from edgelm.runtime.requests import Cancel
from edgelm.runtime.speculation.draft_model import DraftModel
from edgelm.runtime.speculation.width import most_guesses
from edgelm.runtime.worker import EngineThread
from edgelm.zoo.caches.settings import CacheSettings
from edgelm.zoo.weights.files import read_headers
from edgelm.zoo.weights.fingerprint import fingerprint


@dataclass(frozen=True)
class RuntimeOptions:
    """How a model is run."""

    adapters: tuple[AdapterUse, ...] = ()
    dtype: str | None = None
    check_fit: bool = True
    cache: CacheSettings = field(default_factory=CacheSettings)
    draft: Path | None = None
    """The directory of a smaller model with the same vocabulary."""
    disk_cache: bool = False
    """Keep computed prompts on the disk, for the next process."""
    wire: bool = True
    """Keep a model near the limit of memory from being paged out."""
    compile_steps: bool = False
    """Compile the step that several requests share. Its kernels take seconds the first time on a machine: for long work."""


@dataclass(frozen=True)
class Ready:
    """What lives on the engine thread."""

    loaded: LoadedModel
    engine: Engine
    kept: dict[Path, Any] = field(default_factory=dict)
    """What rooms above keep on this thread beside the model; gone with it."""

    @property
    def voice(self) -> Voice:
        """What its replies have in common."""
        return Voice(self.loaded.tokenizer, self.loaded.stop_tokens)

    def answer(
        self, tasks: Sequence[Task], cancel: Cancel, *, rows: int | None = None
    ) -> Iterator[BatchEvent]:
        """Answer `tasks` with nobody else served, as `many` does."""
        for event in self.many(tasks, cancel, rows=rows):
            if event is None:
                self.step()
            else:
                yield event

    def step(self) -> None:
        """Go on with the requests that are being served."""
        self.engine.step()

    def many(
        self, tasks: Sequence[Task], cancel: Cancel, *, rows: int | None = None
    ) -> Generator[BatchEvent | None, None, None]:
        """Answer `tasks` beside whoever else is served: a `BatchResult` for each as it ends, and `BatchProgress` now and then.

        Args:
            rows: at most so many at once; None is what the machine can take, up to 32.
        """
        return ManyPrompts(self.engine.scheduler, self.voice, tasks, cancel, rows=rows).events()


@dataclass(frozen=True, slots=True)
class ReplyWork:
    """One reply on the engine thread, beside others; it holds no handle of the model."""

    ids: Sequence[int]
    options: GenerationOptions
    tools: Sequence[Mapping[str, Any]] | None = None

    def __call__(self, ready: Ready, cancel: Cancel) -> Generator[ChatEvent | None, None, None]:
        """Yield what happens until the reply has ended."""
        reply = TextReply(ready.voice, self.ids, self.options, cancel, tools=self.tools)
        yield from reply.events(ready.engine.scheduler)
        ready.engine.persist()  # after the last event: the reader has the answer already


@dataclass(frozen=True, slots=True)
class AnswersWork:
    """`count` replies to one prompt on the engine thread, which is computed once; see `ReplyWork`."""

    ids: Sequence[int]
    options: GenerationOptions
    tools: Sequence[Mapping[str, Any]] | None = None
    count: int = 1
    most_unread: int | None = None
    """Events that may wait for who reads them; see `Job.aevents`."""

    def __call__(self, ready: Ready, cancel: Cancel) -> Generator[Numbered | None, None, None]:
        """Yield what happens, each with the number of its reply, until all have ended."""
        answers = TextAnswers(ready.voice, self.ids, self.options, cancel, tools=self.tools, count=self.count)
        yield from answers.events(ready.engine.scheduler)
        ready.engine.persist()

    async def aevents(self, thread: EngineThread[Ready], model: Path) -> AsyncGenerator[Numbered, None]:
        """Yield the same in an event loop, once it is known that the adapters are made for the model in a directory.

        Raises:
            NotFoundError, FormatError, UnsupportedError: see `check_uses`.
        """
        if self.options.adapters:  # hashes files, which nobody else is to wait for
            await asyncio.to_thread(check_uses, self.options.adapters, model)
        async with aclosing(thread.share(self).aevents(self.most_unread)) as events:
            async for event in events:
                yield event


def assemble(directory: Path, options: RuntimeOptions, stop: threading.Event | None = None) -> Ready:
    """Load the model in `directory` and what runs it.

    Args:
        stop: set, from another thread, when nobody waits for it any more.

    Raises:
        Interrupted: `stop` was set; what was loaded is freed.
        NotFoundError, FormatError, UnsafeError, UnsupportedError: about the model, the draft or the kind of cache.
        FitError: it would not fit in memory.
    """
    raise_open_files()
    machine = devices.detect()
    loaded = load(
        directory,
        adapter=options.adapters,
        dtype=options.dtype,
        check_fit=options.check_fit,
        kind=options.cache,
        stop=stop,
    )
    draft = _load_draft(options.draft, loaded, options, stop) if options.draft else None
    _may_wire[threading.get_ident()] = options.wire
    _settle(machine)
    make_layers = caches_of(loaded.network, options.cache)
    chunks = chunks_for(machine, attention_heads(loaded.config))
    memory = MemoryPlan(
        _account(loaded, machine),
        options.cache,
        _account(draft, machine) if draft is not None else None,
        adapters=lambda: loaded.adapters.size_bytes,
    )
    if options.check_fit:
        loaded.adapters.price(lambda: memory.budget_bytes - memory.weights_bytes)
    engine = Engine(
        loaded.network,
        vocab_size=loaded.vocab_size,
        context_length=loaded.context_length,
        pool=Pool(
            make_layers,
            budget_bytes=devices.prefix_pool_bytes(machine, mx.get_active_memory()),
            disk=_disk_cache(loaded, options) if options.disk_cache else None,
        ),
        draft_model=_draft_model(draft, chunks) if draft is not None else None,
        prefill_chunk=chunks,
        memory=memory if options.check_fit else None,
        most_guesses=most_guesses(machine, attention_heads(loaded.config), key_heads(loaded.config)),
        sharing=Sharing(loaded, make_layers, memory, compile_steps=options.compile_steps),
        variants=loaded.adapters,
    )
    return Ready(loaded, engine)


def release() -> None:
    """After a model was let go, on its thread: the memory that it took, and the limits that were set for it, go too."""
    gc.collect()  # networks hold themselves in circles
    _may_wire.pop(threading.get_ident(), None)
    _settle(devices.detect())


_may_wire: dict[int, bool] = {}
"""Whether the model on each thread may be wired."""


def _settle(machine: devices.Device) -> None:
    """MLX wires whatever is in use, up to the limit: one model that may not be wired forbids it to all."""
    devices.settle_memory(machine, wire=all(list(_may_wire.values())))


def _disk_cache(loaded: LoadedModel, options: RuntimeOptions) -> DiskCache:
    """Caches differ with everything that changes a row in them by a bit; adapters are named by each request."""
    root = paths.prompt_caches()
    key = {
        "model": fingerprint(loaded.directory),
        "dtype": loaded.dtype,
        "size_bytes": loaded.size_bytes,
        "backend": str(mx.default_device()),
        **options.cache.said(),
    }
    return DiskCache(root, json.dumps(key), budget_bytes=default_budget_bytes(root))


def _account(loaded: LoadedModel, machine: devices.Device) -> Account:
    headers, shape = read_headers(loaded.directory), trace(loaded.config, loaded.directory)
    return account_of(headers, shape, loaded.config, machine)


def _draft_model(draft: LoadedModel, chunks: Chunks) -> DraftModel:
    return DraftModel(draft.network, caches_of(draft.network), prefill_chunk=chunks.near)


def _load_draft(
    directory: Path, target: LoadedModel, options: RuntimeOptions, stop: threading.Event | None
) -> LoadedModel:
    """A draft must mean the same by every token."""
    draft = load(directory, dtype=options.dtype, check_fit=options.check_fit, stop=stop)
    if draft.tokenizer.get_vocab() != target.tokenizer.get_vocab():
        raise UnsupportedError(
            f"{draft.name} has another vocabulary than {target.name}",
            hint="a draft model comes from the same family, as Qwen3-0.6B does for Qwen3-8B",
        )
    return draft
