"""The app's line to the engine: asks on one side, plain events on the other.

One thread of its own loads models and walks through answers, so that the interface never waits. The
interface calls `drain` thirty times a second. Nothing heavy is imported before the thread needs it. Knows
no widget.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from edgelm.conversation.model import ChatModel
from edgelm.conversation.question import Question, answer_events, longest_answer
from edgelm.errors import EdgeLMError, EngineError, NotFoundError
from edgelm_tui.engine.adapters import AdapterSwitch
from edgelm_tui.engine.events import (
    AnswerEnded,
    AnswerEvent,
    ClientEvent,
    Failed,
    FitKnown,
    Library,
    Loaded,
    Loading,
)
from edgelm_tui.engine.models import find_model, list_library, load_model, price_model


class Load(Protocol):
    """Loads a model."""

    def __call__(self, name: str, adapter: str | None = None) -> ChatModel:
        """Load the model `name`, with an adapter on it if one is named."""


ListModels = Callable[[], Sequence[str]]
Find = Callable[[str], object]
Price = Callable[[str], FitKnown]


@dataclass(frozen=True, slots=True)
class AnswerJob:
    """One question under way."""

    id: int
    question: Question
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class _OfLoad:
    """What one load has to say, which nobody wants to hear once another is asked for."""

    number: int
    event: Loading | Loaded | Failed


class EngineClient:
    """Owns the model; every public method returns at once, but `close`.

    Args:
        find: raises where there is no such model, before another is let go for it; None looks into the list.
    """

    def __init__(
        self,
        load: Load = load_model,
        list_models: ListModels = list_library,
        price: Price = price_model,
        find: Find | None = None,
    ) -> None:
        self._load_model = load
        self._find = find or (find_model if load is load_model else self._find_listed)
        self._list_models = list_models
        self._price = price
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._events: SimpleQueue[ClientEvent | _OfLoad] = SimpleQueue()
        self._jobs: dict[int, AnswerJob] = {}
        self._job_count = 0
        self._load_count = 0
        """The number of the last load that was asked for: earlier ones are given up."""
        self._held_since = 0
        """The load that brought the model that is held."""
        self._answering: AnswerJob | None = None
        self._model: ChatModel | None = None
        self._adapters: AdapterSwitch | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="edgelm-client")

    def start(self) -> None:
        """Begin; the first event is `Library`."""
        self._thread.start()
        self.look()

    def look(self) -> None:
        """Look into the library again: `Library` follows."""
        self._tasks.put(lambda: self._try(lambda: self._events.put(Library(tuple(self._list_models())))))

    def load(self, name: str, adapter: str | None = None) -> None:
        """Change to the model `name`: `Loading` and then `Loaded` or `Failed` follow."""
        self.stop()
        self._load_count += 1
        number = self._load_count
        self._tasks.put(lambda: self._try(lambda: self._load(name, adapter, number)))

    def stop_loading(self) -> None:
        """Give up the models that are being loaded: what comes, or came and was not drained, is let go without a word."""
        self._load_count += 1

    def unload(self) -> None:
        """Let the model go, and what is being loaded."""
        self.stop()
        self._load_count += 1
        self._tasks.put(self._drop)

    def fit(self, name: str) -> None:
        """Ask whether an installed model fits: `FitKnown` follows."""
        self._tasks.put(lambda: self._events.put(self._priced(name)))

    def ask(self, question: Question) -> int:
        """Put a question: `AnswerEvent` and one `AnswerEnded` follow, tagged with the number returned."""
        self._job_count += 1
        job = AnswerJob(self._job_count, question)
        self._jobs[job.id] = job
        self._tasks.put(lambda: self._answer(job))
        return job.id

    def stop(self, job_id: int | None = None) -> None:
        """Stop an answer, or all; they end at the next token, or after a layer of a chunk of the prompt."""
        for job in [job for job in list(self._jobs.values()) if job_id in (None, job.id)]:
            job.stop.set()
            if job is self._answering and (model := self._model) is not None:
                model.stop()

    def drain(self) -> list[ClientEvent]:
        """Return the events since the last call."""
        events: list[ClientEvent] = []
        try:
            while True:
                event = self._events.get_nowait()
                if not isinstance(event, _OfLoad):
                    events.append(event)
                elif event.number == self._load_count:
                    events.append(event.event)
                elif isinstance(event.event, Loaded):
                    self._let_go(event.number)
        except Empty:
            return events

    def close(self, timeout_s: float | None = None) -> bool:
        """Stop, let the model go and end the thread; False if it is still busy after `timeout_s`.

        A model that is being loaded, or a chunk of a prompt, cannot be broken off.
        """
        self._is_closed = True
        self.stop()
        self._tasks.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            while (task := self._tasks.get()) is not None and not self._is_closed:
                task()
        finally:
            self._drop()

    def _try(self, task: Callable[[], None], job: int | None = None) -> None:
        # What is left standing if a bug ends the thread: the interface must not wait for ever.
        failed: Failed | None = Failed("the engine failed unexpectedly", "quit, and run edgelm --debug", job)
        try:
            task()
            failed = None
        except EdgeLMError as error:
            failed = Failed(error.message, error.hint, job)
        finally:
            if failed is not None:
                self._events.put(failed)

    def _priced(self, name: str) -> FitKnown:
        try:
            return self._price(name)
        except EdgeLMError as error:
            return FitKnown(name, "", error.message)

    def _load(self, name: str, adapter: str | None, number: int) -> None:
        if number != self._load_count:
            return
        self._events.put(_OfLoad(number, Loading(name)))
        before = self._held()
        self._held_since = number
        try:
            model = self._changed(name, adapter)
        except EdgeLMError as error:
            if number == self._load_count:  # else nobody waits for it any more
                self._events.put(_OfLoad(number, Failed(error.message, error.hint)))
                self._bring_back(before, number)
            return
        if number != self._load_count:
            self._drop()
            return
        self._events.put(_OfLoad(number, _describe(model, adapter)))

    def _let_go(self, number: int) -> None:
        """The model that load `number` brought was given up, after it was there and before anyone heard of it."""
        self._tasks.put(lambda: self._drop() if self._held_since == number else None)

    def _changed(self, name: str, adapter: str | None) -> ChatModel:
        """Change to a model and an adapter; nothing is let go for a model that is not there."""
        switch = self._adapters
        if (
            self._model is not None
            and switch is not None
            and self._is_loaded(name)
            and switch.can_use(adapter)
        ):
            switch.use(adapter)
            return self._model
        self._find(name)
        self._drop()
        model = self._model = self._load_model(name, adapter=adapter)
        self._adapters = AdapterSwitch(model, adapter)
        return model

    def _held(self) -> tuple[str, str | None] | None:
        """The model that is loaded, and its adapter."""
        if self._model is None or self._adapters is None:
            return None
        return str(self._model.directory or self._model.name), self._adapters.current

    def _bring_back(self, before: tuple[str, str | None] | None, number: int) -> None:
        """The model that there was is the one that there is: another that cannot be had takes its place for no longer."""
        if before is None:
            return
        try:
            model = self._changed(*before)
        except EdgeLMError as error:
            self._events.put(_OfLoad(number, Failed(error.message, error.hint)))
        else:
            self._events.put(_OfLoad(number, replace(_describe(model, before[1]), is_back=True)))

    def _find_listed(self, name: str) -> None:
        names = list(self._list_models())
        if name not in names and not Path(name).is_dir():
            near = difflib.get_close_matches(name, names, n=1)
            raise NotFoundError(f"no model {name!r}", hint=f"did you mean {near[0]}?" if near else None)

    def _is_loaded(self, name: str) -> bool:
        return self._model is not None and name in (
            self._model.name,
            str(self._model.directory or ""),
        )

    def _drop(self) -> None:
        model, self._model, self._adapters = self._model, None, None
        if model is not None:
            model.close()

    def _answer(self, job: AnswerJob) -> None:
        try:
            self._try(lambda: self._walk(job), job.id)
        finally:
            self._answering = None
            self._jobs.pop(job.id, None)
            self._events.put(AnswerEnded(job.id))

    def _walk(self, job: AnswerJob) -> None:
        if job.stop.is_set():
            return
        if self._model is None:
            raise EngineError("no model is loaded", hint="choose one with Ctrl+L")
        self._answering = job
        if self._adapters is not None:
            self._adapters.scale(job.question.adapter_scale)
        longest = longest_answer(self._model)
        with closing(answer_events(self._model, job.question, max_tokens=longest)) as events:
            for event in events:
                if job.stop.is_set():
                    return
                self._events.put(AnswerEvent(job.id, event))


def _describe(model: ChatModel, adapter: str | None) -> Loaded:
    from edgelm.library.models import describe

    bits = describe(model.directory).bits_per_weight if model.directory is not None else None
    return Loaded(
        model.name,
        model.context_length,
        bits,
        model.size_bytes,
        adapter,
        str(model.directory or ""),
        is_greedy=model.defaults.sampling.is_greedy,
    )
