"""The open queue: requests come in at any time, each goes out as a stream, and all share the steps of one network.

One request alone is decoded by itself, with speculation (`alone.py`). When a second comes, the first leaves at its next
token and goes on beside it (`batching/rows.py`), where the network computes several as it computes each alone; when one is
left, it goes on by itself again. An error, a cancel or a constraint of one touches no other. Runs on the thread that owns
MLX; whoever drives it calls `step` as long as somebody waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from edgelm import log
from edgelm.errors import EdgeLMError, EngineError, OptionError
from edgelm.runtime.batching.rows import Rows
from edgelm.runtime.cache.live import LiveCache
from edgelm.runtime.events import EngineEvent
from edgelm.runtime.requests import Cancel, Request
from edgelm.runtime.sequence import ActiveRequest

Alone = Callable[[ActiveRequest], Generator[None, None, None]]
"""Serves one request by itself, a step with every `next`, until it is over or `leaves`."""


@dataclass(slots=True)
class _Solo:
    active: ActiveRequest
    steps: Generator[None, None, None]


class Scheduler:
    """Serves requests with one network.

    Args:
        admit: makes a request an active one, of how many rows at most and which of its answers, or raises what is wrong.
        alone: serves one by itself.
        live: the caches that `alone` works on.
        make_rows: makes what serves several, once it is needed; None where they cannot share steps.
    """

    def __init__(
        self,
        admit: Callable[[Request, Cancel, int | None, int], ActiveRequest],
        alone: Alone,
        live: LiveCache,
        make_rows: Callable[[], Rows | None],
    ) -> None:
        self._admit = admit
        self._alone = alone
        self._live = live
        self._make_rows = make_rows
        self._rows: Rows | None = None
        """Those who share steps; made when the first two might."""
        self._may_share = True
        self._queue: deque[ActiveRequest] = deque()
        self._solo: _Solo | None = None

    @property
    def running(self) -> int:
        """How many requests are being served now, without those that wait."""
        return (self._solo is not None) + (len(self._rows.served) if self._rows else 0)

    def add(self, request: Request, cancel: Cancel, *, most_rows: int | None = None) -> ActiveRequest:
        """Put a request into the queue; its events come as `step` is called.

        Args:
            most_rows: most requests that may share steps with it, itself included.

        Raises:
            PromptError, OptionError, FitError: what this model cannot do.
        """
        if request.n != 1:
            raise OptionError(
                f"n is {request.n}, expected 1 where one answer is streamed", hint="see add_group"
            )
        active = self._admit(request, cancel, most_rows, 0)
        self._queue.append(active)
        return active

    def add_group(self, request: Request, cancel: Cancel | Sequence[Cancel]) -> list[ActiveRequest]:
        """Put the `n` answers of a request into the queue; their prompt is computed once, and its caches are copied.

        Args:
            cancel: ends all of them, or one for each.

        Raises:
            PromptError, OptionError, FitError: what this model cannot do.
        """
        each = cancel if isinstance(cancel, Sequence) else [cancel] * request.n
        group = [self._admit(request, each[number], None, number) for number in range(request.n)]
        self._queue.extend(group)
        return group

    def generate(self, request: Request, cancel: Cancel) -> Generator[EngineEvent | None, None, None]:
        """Yield the events of a request, and None where `step` has to be called before there are more.

        Raises:
            PromptError, OptionError, FitError, EngineError: see `Engine.generate`.
        """
        active = self.add(request, cancel)
        try:
            while True:
                while active.events:
                    yield active.events.popleft()
                if active.is_over:
                    break
                yield None
        finally:
            self.drop(active)
        if active.error is not None:
            raise active.error

    def step(self) -> None:
        """Go on a little: by one chunk of a prompt, or by one token of everybody who is served."""
        try:
            self._go_on()
        except Exception as error:  # noqa: BLE001 - theirs who are being served: those who wait go on
            self._abandon(error)

    def _go_on(self) -> None:
        self._end_cancelled()
        if self._solo is not None:
            self._solo.active.leaves = bool(self._queue) and self._share([self._solo.active, self._queue[0]])
            self._go_on_alone(self._solo)
        elif self._rows is not None and self._rows.served:
            self._go_on_together(self._rows)
        elif len(self._queue) > 1 and self._share(list(self._queue)[:2]):
            self._live.park()
            self._go_on_together(self._rows_now())
        elif self._queue:
            self._begin_alone(self._queue.popleft())

    def drop(self, active: ActiveRequest) -> None:
        """Forget a request that nobody reads any more, wherever it is."""
        if self._solo is not None and self._solo.active is active:
            solo, self._solo = self._solo, None
            solo.steps.close()
        elif active in self._queue:
            self._queue.remove(active)
        elif self._rows is not None:
            self._rows.drop(active)
        active.is_over = True

    def persist(self) -> None:
        """Write what was computed of requests that shared steps to the disk, once none does.

        Raises:
            OutputError: the disk refuses.
        """
        if self._rows is not None:
            self._rows.persist()

    @property
    def has_unwritten(self) -> bool:
        """Whether something is to be written while requests share steps."""
        return self._rows is not None and self._rows.has_unwritten

    def write_some(self) -> None:
        """Write a little of it while they go on.

        Raises:
            OutputError: the disk refuses.
        """
        self._rows_now().write_some()

    def _end_cancelled(self) -> None:
        """End those who wait and are no longer wanted."""
        if len(self._queue) + self.running > 1:
            for active in [active for active in self._queue if active.cancel.is_set()]:
                self._queue.remove(active)
                active.finish()

    def _share(self, candidates: list[ActiveRequest]) -> bool:
        """Whether these may share steps."""
        if any(active.most_rows == 1 for active in candidates):
            return False
        if self._rows is None and self._may_share:
            self._rows = self._rows_if_any()
            self._may_share = self._rows is not None
        return self._rows is not None and self._rows.fits(candidates)

    def _rows_if_any(self) -> Rows | None:
        """What serves several; None where it cannot be made: nobody's answer depends on it."""
        try:
            return self._make_rows()
        except (RuntimeError, ValueError, MemoryError, EdgeLMError) as error:  # what MLX raises, and edgelm
            log.logger.warning(
                "requests are answered one after the other, since none can share steps: %s", error
            )
            return None

    def _rows_now(self) -> Rows:
        assert self._rows is not None
        return self._rows

    def _begin_alone(self, active: ActiveRequest) -> None:
        self._solo = _Solo(active, self._alone(active))
        self._go_on_alone(self._solo)

    def _go_on_alone(self, solo: _Solo) -> None:
        try:
            next(solo.steps)
        except StopIteration:
            if not solo.active.is_over:  # it left its own loop, to go on beside others
                rows = self._rows_now()
                rows.adopt(solo.active, self._live.layers)
                self._live.park()
                rows.note_parked(solo.active)
            self._solo = None
        except Exception as error:  # noqa: BLE001 - its reader's: the others go on
            self._solo = None
            solo.active.fail(error)
        except BaseException:
            self._solo = None
            raise

    def _go_on_together(self, rows: Rows) -> None:
        if len(rows.active) > 1 or rows.is_joining or self._queue:
            rows.step(self._queue)
        elif (left := rows.release()) is not None:
            active, layers = left
            self._solo = _Solo(active, self._alone(active))
            self._live.adopt(active.variant.key, active.keys[:-1], layers)
            self._go_on_alone(self._solo)

    def _abandon(self, error: Exception) -> None:
        """After a failure between two requests: what is kept is unknown, and those who were being served have failed."""
        known = error if isinstance(error, EdgeLMError) else EngineError(f"generation failed: {error}")
        solo, self._solo = self._solo, None
        for active in [*([solo.active] if solo else []), *(self._rows.served if self._rows else [])]:
            active.fail(known)
        self._live.reset()
        if self._rows is not None:
            self._rows.clear()
