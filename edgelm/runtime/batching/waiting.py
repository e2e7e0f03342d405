"""The prompts of a batch that wait for a place, and which of them join together.

Knows lengths and order; nothing about networks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from edgelm import log
from edgelm.errors import EdgeLMError, EngineError
from edgelm.runtime.batching.lanes import widest_spread
from edgelm.runtime.batching.prompts import Task
from edgelm.runtime.batching.reply import Reply, Voice
from edgelm.runtime.batching.results import BatchResult
from edgelm.runtime.requests import Cancel

_AHEAD = 64
"""Prompts encoded before their turn: mates of one length and a common stem are found among them."""


class WaitingRoom:
    """In the order given, except that the first takes mates of its length along.

    Args:
        check_fits: refuses a prompt of so many tokens that would not fit in memory even alone, by a FitError.
    """

    def __init__(
        self, tasks: Sequence[Task], voice: Voice, cancel: Cancel, check_fits: Callable[[int], object]
    ) -> None:
        self._tasks = deque(tasks)
        self._voice = voice
        self._cancel = cancel
        self._check_fits = check_fits
        self._replies: deque[Reply] = deque()

    def __len__(self) -> int:
        return len(self._tasks) + len(self._replies)

    @property
    def prompts(self) -> list[list[int]]:
        """Tokens of those encoded so far."""
        return [reply.ids for reply in self._replies]

    def look_ahead(self) -> Iterator[BatchResult]:
        """Encode prompts until enough are ready; those that the model cannot take have ended."""
        while self._tasks and len(self._replies) < _AHEAD and not self._cancel.is_set():
            task = self._tasks.popleft()
            try:
                reply = Reply(task, self._voice, self._cancel)
                self._check_fits(reply.prompt_tokens)
                self._replies.append(reply)
            except Exception as error:  # noqa: BLE001 - the result of this prompt; the others go on
                yield failed(task.index, error)

    def put_back(self, replies: Sequence[Reply]) -> None:
        """These come first again."""
        self._replies.extendleft(reversed(replies))

    def take(
        self, places: int, rest_tokens: Callable[[Reply], int], fits: Callable[[list[Reply]], bool]
    ) -> list[Reply]:
        """The first and, of the others, those nearest to it in length; none if the first does not fit.

        Args:
            places: how many may be taken.
            rest_tokens: what is to be computed of a prompt.
            fits: whether these may run beside those that run already.
        """
        if not self._replies or places < 1 or not fits([self._replies[0]]):
            return []
        first, *others = self._replies
        size = rest_tokens(first)
        group, sizes = [first], [size]
        for reply in sorted(others, key=lambda reply: abs(rest_tokens(reply) - size)):
            sizes.append(rest_tokens(reply))
            is_mate = max(sizes) - min(sizes) <= widest_spread(len(sizes))
            if len(group) == places or not is_mate or not fits([*group, reply]):
                break
            group.append(reply)
        for reply in group:
            self._replies.remove(reply)
        return group

    def close(self) -> None:
        """Let go of everybody."""
        self._tasks.clear()
        while self._replies:
            self._replies.pop().close()


def failed(index: int, error: Exception) -> BatchResult:
    """The result of a prompt that met an error."""
    if not isinstance(error, EdgeLMError):
        log.logger.info("prompt %d failed", index, exc_info=error)
        error = EngineError(f"this prompt failed: {type(error).__name__}: {error}")
    # Frames hold arrays, which must not reach another thread.
    error.__cause__ = error.__context__ = None
    return BatchResult(index, error=error.with_traceback(None))
