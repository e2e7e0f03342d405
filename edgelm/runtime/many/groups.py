"""Groups of answers: every request answered `n` times from one computation of its prompt, many requests side by side.

Only ids and arrays come out, no text. What one request meets is its group's alone. A turn for each None that is yielded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from edgelm.errors import EdgeLMError
from edgelm.runtime.events import Finished
from edgelm.runtime.requests import Cancel, Request
from edgelm.runtime.scheduler import Scheduler
from edgelm.runtime.sequence import ActiveRequest

_AHEAD = 64
"""Answers in the scheduler's queue at once."""


@dataclass(frozen=True, slots=True)
class AnswerGroup:
    """The answers to one request.

    Attributes:
        index: which of the requests.
        answers: how each ended, `n` of them in the order of their seeds; none where there is an error.
        error: what was wrong with the request, or befell an answer.
    """

    index: int
    answers: tuple[Finished, ...] = ()
    error: Exception | None = None


def answer_groups(
    scheduler: Scheduler, requests: Sequence[Request], cancel: Cancel
) -> Generator[AnswerGroup | None, None, None]:
    """Yield each request's group when it is complete, and None where `Scheduler.step` has to be called; fewer if cancelled."""
    waiting = deque(enumerate(requests))
    open_groups: dict[int, list[ActiveRequest]] = {}
    try:
        while (waiting or open_groups) and not cancel.is_set():
            while waiting and sum(map(len, open_groups.values())) < _AHEAD:
                index, request = waiting.popleft()
                try:
                    open_groups[index] = scheduler.add_group(request, cancel)
                except EdgeLMError as error:
                    yield AnswerGroup(index, error=error)
            for index, group in list(open_groups.items()):
                if all(active.is_over for active in group) and not cancel.is_set():
                    del open_groups[index]
                    yield _group_of(index, group)
            yield None
    finally:
        for group in open_groups.values():
            for active in group:
                scheduler.drop(active)


def _group_of(index: int, group: Sequence[ActiveRequest]) -> AnswerGroup:
    error = next((active.error for active in group if active.error is not None), None)
    if error is not None:
        return AnswerGroup(index, error=error)
    ends = (active.events[-1] for active in group)
    return AnswerGroup(index, tuple(end for end in ends if isinstance(end, Finished)))
