"""Many prompts through the scheduler: tasks in, results out as they end, and a word of progress now and then.

Prompts are encoded a little before their turn, so that those of one length and with a common beginning are found among them.
What a prompt meets (an encoding or a parser that fails, a request that the model cannot take) is its result alone. Runs on the
engine thread, a turn for each None that it yields.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence

from edgelm import log
from edgelm.errors import EdgeLMError, EngineError
from edgelm.runtime.events import Finished, Token
from edgelm.runtime.generation.completion import Collector
from edgelm.runtime.generation.text import TextReply, Voice
from edgelm.runtime.many.prompts import Task
from edgelm.runtime.many.results import BatchEvent, BatchProgress, BatchResult
from edgelm.runtime.requests import Cancel
from edgelm.runtime.scheduler import Scheduler
from edgelm.runtime.sequence import ActiveRequest

_AHEAD = 64
"""Requests of one run in the scheduler's queue at once."""
_REPORT_S = 0.25


class _Open:
    """A task whose request is in the scheduler."""

    def __init__(
        self, task: Task, voice: Voice, scheduler: Scheduler, cancel: Cancel, rows: int | None
    ) -> None:
        self.index = task.index
        self._reply = TextReply(voice, task.encode(voice.tokenizer), task.options, cancel, tools=task.tools)
        self._collector = Collector(task.options.grammar)
        self.active: ActiveRequest = scheduler.add(self._reply.request, self._reply, most_rows=rows)

    def read(self) -> int:
        """Take note of what has come; how many tokens that is."""
        tokens = 0
        while self.active.events:
            event = self.active.events.popleft()
            tokens += isinstance(event, Token) or (isinstance(event, Finished) and event.matched is not None)
            for piece in self._reply.write(event):
                self._collector.add(piece)
        return tokens

    def result(self) -> BatchResult:
        """Return how it ended."""
        if self.active.error is not None:
            return failed(self.index, self.active.error)
        return BatchResult(self.index, self._collector.completion())


class ManyPrompts:
    """One run over many prompts.

    Args:
        scheduler: serves the requests, beside those of others.
        voice: what turns prompts into requests and tokens into text.
        rows: at most so many at once; None is what the machine can take.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        voice: Voice,
        tasks: Sequence[Task],
        cancel: Cancel,
        *,
        rows: int | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._voice = voice
        self._tasks = deque(tasks)
        self._cancel = cancel
        self._rows = rows
        self._open: list[_Open] = []
        self._total = len(tasks)
        self._done = self._tokens = 0
        self._started = self._reported = time.perf_counter()

    def events(self) -> Generator[BatchEvent | None, None, None]:
        """Yield one `BatchResult` for each prompt, and `BatchProgress` now and then; fewer if cancelled."""
        try:
            yield self._progress()
            while not self._cancel.is_set():
                yield from self._report(self._begin())
                yield from self._report(self._read())
                if not (self._tasks or self._open):
                    return
                yield None
        finally:
            for each in self._open:
                self._scheduler.drop(each.active)

    def _begin(self) -> Iterator[BatchResult]:
        """Put tasks into the queue until enough are there; those that the model cannot take have ended."""
        while (
            self._tasks and len(self._open) < _AHEAD + self._scheduler.running and not self._cancel.is_set()
        ):
            task = self._tasks.popleft()
            try:
                self._open.append(_Open(task, self._voice, self._scheduler, self._cancel, self._rows))
            except Exception as error:  # noqa: BLE001 - the result of this prompt; the others go on
                yield failed(task.index, error)

    def _read(self) -> Iterator[BatchResult]:
        """Read what has come; results of those that have ended."""
        for each in [each for each in self._open if each.active.events or each.active.is_over]:
            try:
                self._tokens += each.read()
            except Exception as error:  # noqa: BLE001 - the result of this prompt; the others go on
                self._scheduler.drop(each.active)
                each.active.fail(error)
            if each.active.is_over and not self._cancel.is_set():
                self._open.remove(each)
                yield each.result()

    def _report(self, results: Iterator[BatchResult]) -> Iterator[BatchEvent]:
        """Pass results on, with a word of progress after each and now and then."""
        for result in results:
            self._done += 1
            yield result
            yield self._progress()
        if time.perf_counter() - self._reported >= _REPORT_S:
            yield self._progress()

    def _progress(self) -> BatchProgress:
        self._reported = time.perf_counter()
        elapsed_s = self._reported - self._started
        return BatchProgress(self._done, self._total, self._scheduler.running, self._tokens, elapsed_s)


def failed(index: int, error: Exception) -> BatchResult:
    """Return the result of a prompt that met an error."""
    if not isinstance(error, EdgeLMError):
        log.logger.info("prompt %d failed", index, exc_info=error)
        error = EngineError(f"this prompt failed: {type(error).__name__}: {error}")
    # Frames hold arrays, which must not reach another thread.
    error.__cause__ = error.__context__ = None
    return BatchResult(index, error=error.with_traceback(None))
