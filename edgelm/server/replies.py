"""Replies to requests: how many there may be, and one as a stream of events that has begun before anything is answered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from edgelm.runtime.assemble import AnswersWork
from edgelm.runtime.events import ChatEvent, Finished, Prefill
from edgelm.runtime.generation.answers import Numbered
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.server.http.errors import RequestError
from edgelm.server.metrics import ServerMetrics
from edgelm.server.residents import Resident

MOST_UNREAD = 16_384
"""Events of a reply that may wait for an asker who reads slowly: more tokens than most answers have."""


class Admission:
    """Lets so many replies in; the rest are told to come again, so that a queue does not grow without an end."""

    def __init__(self, most: int, retry_after_s: int, metrics: ServerMetrics) -> None:
        self._most, self._retry_after_s, self._metrics = most, retry_after_s, metrics
        self._count = 0
        self.is_closing = False

    @property
    def count(self) -> int:
        """Replies under way and waiting."""
        return self._count

    def close(self) -> None:
        """Let nobody in any more; what is under way goes on."""
        self.is_closing = True

    @contextmanager
    def admitted(self, count: int) -> Iterator[None]:
        """Hold the places of `count` replies during the block.

        Raises:
            RequestError: 429 where there are not so many, 503 where the server is about to end.
        """
        again = {"Retry-After": str(self._retry_after_s)}
        if self.is_closing:
            raise RequestError(503, "the server is shutting down", code="shutting_down", headers=again)
        if self._count + count > self._most:
            raise RequestError(
                429,
                f"{self._count} replies are under way or waiting, and {self._most} may be",
                code="too_many_requests",
                headers=again,
            )
        self._change(count)
        try:
            yield
        finally:
            self._change(-count)

    def _change(self, by: int) -> None:
        self._count += by
        self._metrics.under_way.set(self._count)


@dataclass(frozen=True)
class ReplyTask:
    """What a reply is asked for, or several to one prompt."""

    ids: Sequence[int]
    options: GenerationOptions
    tools: Sequence[Mapping[str, Any]] | None = None
    count: int = 1
    """Replies to the prompt, which is computed once; with a seed, each has the next."""


class Reply:
    """One reply of a model, or several to one prompt, whose first event has come: what is wrong has been raised by then."""

    def __init__(
        self, events: AsyncGenerator[Numbered, None], first: Numbered, count: int, metrics: ServerMetrics
    ) -> None:
        self._events, self._first, self._metrics = events, first, metrics
        self.count = count

    @classmethod
    async def begun(cls, resident: Resident, asked: ReplyTask, metrics: ServerMetrics) -> Reply:
        """Start a reply and wait for its first event.

        Raises:
            PromptError, OptionError, FitError, EngineError: see `Model.events`.
        """
        options = asked.options
        if resident.adapters is not None:
            options = replace(options, adapters=resident.adapters)
        work = AnswersWork(asked.ids, options, asked.tools, asked.count, MOST_UNREAD)
        events = resident.model.areplies(work)
        try:
            return cls(events, await anext(events), asked.count, metrics)
        except BaseException:
            await events.aclose()
            raise

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that had been computed before, as far as the first event says."""
        event = self._first[1]
        return event.cached if isinstance(event, Prefill) else 0

    async def numbered(self) -> AsyncGenerator[Numbered, None]:
        """Yield what happens, each with the number of its reply; leaving early stops the model."""
        async with aclosing(self._events):
            under_way = self.count
            try:
                yield self._first
                async for number, event in self._events:
                    if isinstance(event, Finished):
                        under_way -= 1
                        self._metrics.replied(event.usage)
                    yield number, event
            finally:
                for _ in range(under_way):
                    self._metrics.left()

    async def events(self) -> AsyncGenerator[ChatEvent, None]:
        """Yield what happens to the only reply; leaving early stops the model."""
        async with aclosing(self.numbered()) as events:
            async for _, event in events:
                yield event

    async def close(self) -> None:
        """Stop the model, where the reply has not ended."""
        await self._events.aclose()
