"""Work on the engine thread, and its events in the thread or the event loop of whoever asked for it.

Only plain Python values cross. Whoever stops listening cancels the job. Knows nothing about models, nor about the thread but
whether it lives.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from edgelm.errors import EngineError

E = TypeVar("E")

_POLL_S = 0.2  # a plain wait cannot be interrupted by Ctrl-C on every platform


class Job(Generic[E]):
    """Work on the engine thread. Iterate `events()` in one thread, or `aevents()` in one event loop."""

    def __init__(
        self,
        work: Callable[[Any, threading.Event], Iterable[E | None]],
        owner: threading.Thread,
        *,
        is_shared: bool = False,
    ) -> None:
        self._work: Callable[[Any, threading.Event], Iterable[E | None]] | None = work
        self._events: Iterator[E | None] = iter(())
        self._owner = owner
        self.is_shared = is_shared
        self._cancel = threading.Event()
        self._out: SimpleQueue[_Event[E] | _End] = SimpleQueue()
        self._wake: Callable[[], object] = _nobody
        self._most_unread: int | None = None
        self._is_overrun = False

    def cancel(self) -> None:
        """Ask the work to end soon; it says itself how (an engine: with `Finished("cancelled")`)."""
        self._cancel.set()

    def events(self) -> Generator[E, None, None]:
        """Yield what the work yields. Leaving early cancels it.

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

    async def aevents(self, most_unread: int | None = None) -> AsyncGenerator[E, None]:
        """Do what `events` does, without a thread that waits: cancelling the task cancels the work.

        Args:
            most_unread: events that may wait for who reads them; one more ends the work. None is any number.

        Raises:
            EngineError: the engine thread has ended, or is too far ahead; or whatever the work raised.
        """
        self._most_unread = most_unread
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: _tell(loop, came.set)
        try:
            while True:
                came.clear()
                while (item := self._taken()) is not None:
                    if isinstance(item, _End):
                        if item.error is not None:
                            raise item.error
                        return
                    yield item.value
                try:
                    # Not `wait_for`: before Python 3.12 it loses a cancel that comes together with what it waits for.
                    async with asyncio.timeout(_POLL_S):
                        await came.wait()
                except TimeoutError:
                    self._check_owner()
        finally:
            self._wake = _nobody
            self.cancel()

    def _next(self) -> _Event[E] | _End:
        while True:
            try:
                return self._out.get(timeout=_POLL_S)
            except Empty:
                self._check_owner()

    def _taken(self) -> _Event[E] | _End | None:
        try:
            return self._out.get_nowait()
        except Empty:
            return None

    def _check_owner(self) -> None:
        if not self._owner.is_alive() and self._out.empty():
            raise EngineError("the engine thread has ended") from None

    def go_on(self, value: Any) -> bool:
        """Go on until its next turn, on the engine thread; return whether it has ended."""
        work, self._work = self._work, None  # what it holds goes with it, however long the job is kept
        try:
            if work is not None:
                self._events = iter(work(value, self._cancel))
                del work
            for event in self._events:
                if event is None and self.is_shared:
                    return False
                self._put(_Event(event))  # type: ignore[arg-type] # None is an event of work that is not shared
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self.end(error)
        else:
            self.end(None)
        return True

    def end(self, error: BaseException | None) -> None:
        """End the events, with an error for who reads them."""
        self._events = iter(())
        cause = error
        while cause is not None:
            # Frames hold arrays, which must not be kept alive or freed by another thread.
            traceback.clear_frames(cause.__traceback__)
            cause = cause.__cause__ or cause.__context__
        if self._is_overrun:
            error = EngineError(f"who reads the answer is more than {self._most_unread:,} events behind it")
        self._put(_End(error))

    def _put(self, item: _Event[E] | _End) -> None:
        if (
            self._most_unread is not None
            and isinstance(item, _Event)
            and self._out.qsize() >= self._most_unread
        ):
            self._is_overrun = True
            self.cancel()
            return
        self._out.put(item)
        self._wake()


@dataclass(frozen=True, slots=True)
class _Event(Generic[E]):
    value: E


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


def _nobody() -> None:
    """Wakes nobody."""


def _tell(loop: asyncio.AbstractEventLoop, do: Callable[[], object]) -> None:
    """Have `do` done in the loop; a loop that has ended needs nothing any more."""
    try:
        loop.call_soon_threadsafe(do)
    except RuntimeError:  # the loop is closed
        return
