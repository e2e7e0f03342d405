"""The engine thread: MLX lives on one thread, and only plain Python values cross it.

Work is submitted as functions that yield events; the events come out of the job in the caller's thread, and
so does any exception. Whoever stops listening cancels the job. Shared work takes turns with other shared work: it yields None
where it waits, and once all have, the thread goes on a step with what they wait for. The thread knows its queue and not its
handle, so a handle that nobody holds any more ends the thread, which frees what it made. Knows nothing about models.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from edgelm.errors import EngineError
from edgelm.machine.abandoned import abandon, is_any_alive, leave_interrupted
from edgelm.runtime.job import Job

T = TypeVar("T")
E = TypeVar("E")
R = TypeVar("R")

_CLOSE_S = 10.0  # the longest that one chunk of a prompt should take
_LEAVING_S = 0.5  # for a load that Ctrl-C has stopped, once the process ends
_LOST_S = 1.0  # a lost handle may be collected anywhere, also where waiting is in the way


class EngineThread(Generic[T]):
    """One thread that owns MLX and the value that `setup` made on it. Losing the last reference to it closes it.

    Ctrl-C in the constructor is heard at once: the thread ends, and frees what it had, when `setup` next looks at `stop`.

    Args:
        setup: run first, on the thread; typically loads a model.
        teardown: run last, on the thread, when nothing holds the value any more.
        step: goes on with what shared work waits for.
        stop: set where nobody waits for `setup` any more.

    Raises:
        EngineError: from `submit` and `call`, after `close`, and in a forked process, which has no such thread.
        Exception: whatever `setup` raises, from the constructor.
    """

    def __init__(
        self,
        setup: Callable[[], T],
        *,
        teardown: Callable[[], None] | None = None,
        step: Callable[[T], None] | None = None,
        name: str = "edgelm-engine",
        stop: threading.Event | None = None,
    ) -> None:
        self._core: _Core[T] = _Core(teardown, step)
        # A daemon, so that a forgotten engine does not keep the interpreter; closed at exit all the same.
        self._thread = threading.Thread(target=self._core.main, name=name, daemon=True)
        core, thread = self._core, self._thread
        ready: Job[None] = Job(lambda *_: core.set_up(setup), thread)
        core.jobs.put(ready)
        _open[core] = thread
        lost = weakref.finalize(self, core.end, thread, _LOST_S)
        lost.atexit = False  # `_close_all` waits longer
        try:
            thread.start()  # a Ctrl-C may come in here as well
            for _ in ready.events():
                pass
        except Exception:
            self.close()
            raise
        except BaseException:  # Ctrl-C: what runs cannot be waited for
            if stop is not None:
                stop.set()
            lost.detach()  # it would wait where nobody does any more
            core.end(thread, 0)
            abandon(thread)
            raise

    def submit(self, work: Callable[[T, threading.Event], Iterable[E]]) -> Job[E]:
        """Queue `work(value, cancel)`; it runs alone, when all that was queued before it has ended."""
        job: Job[E] = Job(work, self._thread)
        self._core.submit(job)
        return job

    def share(self, work: Callable[[T, threading.Event], Iterable[E | None]]) -> Job[E]:
        """Queue `work(value, cancel)`, which takes turns with other such work, also with what comes later.

        It yields None where it waits for the next step.
        """
        job: Job[E] = Job(work, self._thread, is_shared=True)
        self._core.submit(job)
        return job

    def call(self, function: Callable[[T], R]) -> R:
        """Run `function(value)` on the thread and return what it returns."""
        (result,) = self.submit(lambda value, _: (function(value),)).events()
        return result

    @property
    def stalled_s(self) -> float:
        """The seconds since the jobs under way last went on; 0 where there are none."""
        core = self._core
        return time.monotonic() - core.moved_s if core.running else 0.0

    def cancel(self) -> None:
        """Ask the jobs under way, if there are any, to end soon. From any thread."""
        self._core.cancel()

    def close(self) -> None:
        """Cancel what runs, refuse what waits, end the thread. Again is a no-op."""
        self._core.end(self._thread, _CLOSE_S)

    def __enter__(self) -> EngineThread[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(eq=False)
class _Core(Generic[T]):
    """What the thread and its handle share; the thread holds this and not the handle."""

    teardown: Callable[[], None] | None
    step: Callable[[T], None] | None = None
    jobs: SimpleQueue[Job[Any] | None] = field(default_factory=SimpleQueue)
    lock: threading.Lock = field(default_factory=threading.Lock)
    process: int = field(default_factory=os.getpid)
    closed: bool = False
    running: tuple[Job[Any], ...] = ()
    value: T | None = None
    moved_s: float = 0.0
    """When what runs last went on, by the monotonic clock."""

    def submit(self, job: Job[Any]) -> None:
        if os.getpid() != self.process:
            raise EngineError(
                "this process was forked from the one that loaded the model, and has no engine",
                hint="load the model in the process that uses it",
            )
        with self.lock:
            if self.closed:
                raise EngineError("the engine is closed", hint="load the model again")
            self.jobs.put(job)

    def cancel(self) -> None:
        for job in self.running:
            job.cancel()

    def end(self, thread: threading.Thread, wait_s: float) -> None:
        """End the thread, and wait so long for it. Takes no lock: a collection may come where one is held."""
        if os.getpid() != self.process:
            return
        was_closed, self.closed = self.closed, True
        if not was_closed:
            self.jobs.put(None)
        self.cancel()
        if thread is not threading.current_thread() and thread.is_alive():  # or interrupted while it began
            thread.join(wait_s)

    def set_up(self, setup: Callable[[], T]) -> tuple[()]:
        self.value = setup()
        return ()

    def main(self) -> None:
        import mlx.core as mx

        try:
            self._serve()
        finally:
            # On the thread that made them; without clear_streams the process aborts at exit.
            self.value = None
            gc.collect()
            mx.clear_cache()  # freed arrays stay with the process otherwise
            if self.teardown is not None:
                self.teardown()
            mx.clear_streams()
            _open.pop(self, None)

    def _serve(self) -> None:
        following: Job[Any] | None = None
        while (job := following or self.jobs.get()) is not None:
            following = self._share(job) if job.is_shared else None
            if not job.is_shared:
                self._run_alone(job)
            del job

    def _run_alone(self, job: Job[Any]) -> None:
        self._begin(job)
        if self.running:
            job.go_on(self.value)
        self.running = ()

    def _share(self, job: Job[Any]) -> Job[Any] | None:
        """Run a shared job, and others that come meanwhile, until all have ended; the next job, if it is known."""
        waiting: Job[Any] | None = None
        self._begin(job)
        while self.running:
            self.moved_s = time.monotonic()
            for job in self.running:
                if job.go_on(self.value):
                    self.running = tuple(other for other in self.running if other is not job)
            if waiting is None:
                waiting = self._join()
            if self.running:
                self._step()
        return waiting

    def _join(self) -> Job[Any] | None:
        """Begin the shared jobs that have come; the first that has to wait until all have ended."""
        while True:
            try:
                job = self.jobs.get_nowait()
            except Empty:
                return None
            if job is None:  # the end: for `_serve` to find again
                self.jobs.put(None)
                return None
            if not job.is_shared:
                return job
            self._begin(job)

    def _begin(self, job: Job[Any]) -> None:
        if self.closed:
            job.end(EngineError("the engine was closed before this began"))
        else:
            self.moved_s = time.monotonic()
            self.running = (*self.running, job)

    def _step(self) -> None:
        if self.step is not None and self.value is not None:
            self.step(self.value)


_open: dict[_Core[Any], threading.Thread] = {}
"""Whose threads have not ended."""


def abandon_all() -> None:
    """Wait for no engine any more, whatever it computes: the process is to end at once."""
    for core, thread in list(_open.items()):
        core.end(thread, 0)
        abandon(thread)


@atexit.register
def _close_all() -> None:
    if is_any_alive(_LEAVING_S) and getattr(sys, "last_type", None) is KeyboardInterrupt:
        leave_interrupted()
    for core, thread in list(_open.items()):
        core.end(thread, _CLOSE_S)
