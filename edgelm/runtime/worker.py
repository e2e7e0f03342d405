"""The engine thread: MLX lives on one thread, and only plain Python values cross it.

Work is submitted as functions that yield events; the events come out of the job in the caller's thread, and
so does any exception. Whoever stops listening cancels the job. Knows nothing about models.
"""

from __future__ import annotations

import atexit
import threading
import traceback
import weakref
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from edgelm.errors import EngineError

T = TypeVar("T")
E = TypeVar("E")
R = TypeVar("R")

_POLL_S = 0.2  # a plain wait cannot be interrupted by Ctrl-C on every platform
_CLOSE_S = 10.0  # the longest that one chunk of a prompt should take


class Job(Generic[E]):
    """Work on the engine thread. Iterate `events()`, in one thread."""

    def __init__(self, work: Callable[[Any, threading.Event], Iterable[E]], owner: threading.Thread) -> None:
        self._work = work
        self._owner = owner
        self._cancel = threading.Event()
        self._out: SimpleQueue[_Event[E] | _End] = SimpleQueue()

    def cancel(self) -> None:
        """Ask the work to end soon; it says itself how (an engine: with `Finished("cancelled")`)."""
        self._cancel.set()

    def events(self) -> Generator[E, None, None]:
        """What the work yields. Leaving early cancels it.

        Raises:
            EngineError: the engine thread has ended; or whatever the work raised.
        """
        try:
            while True:
                item = self._next()
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    return
                yield item.value
        finally:
            self.cancel()

    def _next(self) -> _Event[E] | _End:
        while True:
            try:
                return self._out.get(timeout=_POLL_S)
            except Empty:
                if not self._owner.is_alive() and self._out.empty():
                    raise EngineError("the engine thread has ended") from None

    def _run(self, value: Any) -> None:
        """On the engine thread."""
        try:
            for event in self._work(value, self._cancel):
                self._out.put(_Event(event))
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self._end(error)
        else:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        cause = error
        while cause is not None:
            # Frames hold arrays, which must not be kept alive or freed by another thread.
            traceback.clear_frames(cause.__traceback__)
            cause = cause.__cause__ or cause.__context__
        self._out.put(_End(error))


@dataclass(frozen=True, slots=True)
class _Event(Generic[E]):
    value: E


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


class EngineThread(Generic[T]):
    """One thread that owns MLX and the value that `setup` made on it.

    Args:
        setup: run first, on the thread; typically loads a model.
        teardown: run last, on the thread, when nothing holds the value any more.

    Raises:
        EngineError: from `submit` and `call`, after `close`.
        Exception: whatever `setup` raises, from the constructor.
    """

    def __init__(
        self,
        setup: Callable[[], T],
        *,
        teardown: Callable[[], None] | None = None,
        name: str = "edgelm-engine",
    ) -> None:
        self._teardown = teardown
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._running: Job[Any] | None = None
        self._value: T | None = None
        # A daemon, so that a forgotten engine does not keep the interpreter; closed at exit all the same.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._ready: Job[None] = Job(lambda *_: self._set_up(setup), self._thread)
        self._thread.start()
        _open_threads.add(self)
        try:
            for _ in self._ready.events():
                pass
        except BaseException:
            self.close()
            raise

    def submit(self, work: Callable[[T, threading.Event], Iterable[E]]) -> Job[E]:
        """Queue `work(value, cancel)`; jobs run one after another, in order."""
        job: Job[E] = Job(work, self._thread)
        with self._lock:
            if self._closed:
                raise EngineError("the engine is closed", hint="load the model again")
            self._jobs.put(job)
        return job

    def call(self, function: Callable[[T], R]) -> R:
        """Run `function(value)` on the thread and return what it returns."""
        (result,) = self.submit(lambda value, _: (function(value),)).events()
        return result

    def cancel(self) -> None:
        """Ask the job under way, if there is one, to end soon. From any thread."""
        running = self._running
        if running is not None:
            running.cancel()

    def close(self) -> None:
        """Cancel what runs, refuse what waits, end the thread. Again is a no-op."""
        with self._lock:
            was_closed, self._closed = self._closed, True
            if not was_closed:
                self._jobs.put(None)
        self.cancel()
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_S)

    def __enter__(self) -> EngineThread[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _main(self) -> None:
        import mlx.core as mx

        try:
            self._serve()
        finally:
            # On the thread that made them; without clear_streams the process aborts at exit.
            self._value = None
            if self._teardown is not None:
                self._teardown()
            mx.clear_streams()

    def _serve(self) -> None:
        self._ready._run(None)
        while (job := self._jobs.get()) is not None:
            self._running = job
            if self._closed:
                job._end(EngineError("the engine was closed before this began"))
            else:
                job._run(self._value)
            self._running = None

    def _set_up(self, setup: Callable[[], T]) -> tuple[()]:
        self._value = setup()
        return ()


_open_threads: weakref.WeakSet[EngineThread[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for engine in list(_open_threads):
        engine.close()
