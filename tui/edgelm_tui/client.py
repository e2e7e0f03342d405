"""The app's line to the engine: asks on one side, plain events on the other.

One thread of its own loads models and walks through answers, so that the interface never waits. The
interface calls `drain` thirty times a second. Nothing heavy is imported before the thread needs it. Knows
no widget.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from edgelm.errors import EdgeLMError, EngineError
from edgelm.runtime.events import ChatEvent


@dataclass(frozen=True, slots=True)
class Library:
    """The models that are installed."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model is ready, with an empty conversation."""

    name: str
    context_length: int | None


@dataclass(frozen=True, slots=True)
class Said:
    """One event of the answer to `job`."""

    job: int
    event: ChatEvent


@dataclass(frozen=True, slots=True)
class Ended:
    """`job` is over, however it ended."""

    job: int


@dataclass(frozen=True, slots=True)
class Failed:
    """What was asked for could not be done; `job` is None where it was not a question."""

    message: str
    hint: str | None
    job: int | None = None


ClientEvent = Library | Loaded | Said | Ended | Failed
Load = Callable[[str], Any]
ListModels = Callable[[], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Job:
    """One question under way."""

    id: int
    text: str
    stop: threading.Event = field(default_factory=threading.Event)


def load_model(name: str) -> Any:
    """The real way to a model."""
    from edgelm.api import load

    return load(name)


def list_library() -> list[str]:
    """The names of the installed models that can be used."""
    from edgelm.model.library import installed

    return [model.name for model in installed() if model.problem is None]


class EngineClient:
    """Owns the model and its conversation; every public method returns at once, but `close`."""

    def __init__(self, load: Load = load_model, list_models: ListModels = list_library) -> None:
        self._load_model = load
        self._list_models = list_models
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._events: SimpleQueue[ClientEvent] = SimpleQueue()
        self._job: Job | None = None
        self._job_count = 0
        self._model: Any = None
        self._chat: Any = None
        self._thread = threading.Thread(target=self._work, name="edgelm-client")

    def start(self) -> None:
        """Begin; the first event is `Library`."""
        self._thread.start()
        self._tasks.put(lambda: self._events.put(Library(tuple(self._list_models()))))

    def load(self, name: str) -> None:
        """Change to the model `name`: `Loaded` or `Failed` follows."""
        self.stop()
        self._tasks.put(lambda: self._load(name))

    def ask(self, text: str) -> int:
        """Put a question: `Said` and one `Ended` follow, tagged with the number returned."""
        self._job_count += 1
        job = self._job = Job(self._job_count, text)
        self._tasks.put(lambda: self._answer(job))
        return job.id

    def stop(self) -> None:
        """Stop the answer under way; what was said of it stays in the conversation."""
        if self._job is not None:
            self._job.stop.set()

    def drain(self) -> list[ClientEvent]:
        """The events since the last call."""
        events: list[ClientEvent] = []
        try:
            while True:
                events.append(self._events.get_nowait())
        except Empty:
            return events

    def close(self) -> None:
        """Stop, let the model go and end the thread; waits for a model that is being loaded."""
        self.stop()
        self._tasks.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        try:
            while (task := self._tasks.get()) is not None:
                self._try(task)
        finally:
            if self._model is not None:
                self._model.close()

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

    def _load(self, name: str) -> None:
        if self._model is not None:
            self._model.close()
            self._model = self._chat = None
        self._model = self._load_model(name)
        self._chat = self._model.chat()
        self._events.put(Loaded(self._model.name, self._model.context_length))

    def _answer(self, job: Job) -> None:
        try:
            self._try(lambda: self._walk(job), job.id)
        finally:
            self._events.put(Ended(job.id))

    def _walk(self, job: Job) -> None:
        if self._chat is None:
            raise EngineError("no model is loaded")
        with closing(self._chat.events(job.text)) as events:
            for event in events:
                if job.stop.is_set():
                    return
                self._events.put(Said(job.id, event))
