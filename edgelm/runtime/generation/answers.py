"""Several answers to one prompt, which is computed once: they go in together, and each comes out as text of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Protocol

from edgelm.runtime.events import ChatEvent
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.text import TextReply, Voice
from edgelm.runtime.requests import Cancel, Request
from edgelm.runtime.sequence import ActiveRequest

Numbered = tuple[int, ChatEvent]
"""An event, and which of the answers it is of."""


class GroupSource(Protocol):
    """What answers a group of requests together: a `Scheduler`."""

    def add_group(self, request: Request, cancel: Sequence[Cancel]) -> list[ActiveRequest]:
        """Put the `n` answers of a request into the queue."""

    def drop(self, active: ActiveRequest) -> None:
        """Forget a request that nobody reads any more."""


class TextAnswers:
    """`count` replies to one prompt; with a seed, each has the one after the seed of the reply before.

    For the other arguments, and for what is raised, see `TextReply`.
    """

    def __init__(
        self,
        voice: Voice,
        prompt: Sequence[int],
        options: GenerationOptions,
        cancel: Cancel,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        count: int = 1,
    ) -> None:
        # Each decodes its own text and meets its own stop strings; what they ask the engine for is the same.
        self._replies = [TextReply(voice, prompt, options, cancel, tools=tools) for _ in range(count)]
        self._request = dataclasses.replace(self._replies[0].request, n=count)

    def events(self, source: GroupSource) -> Generator[Numbered | None, None, None]:
        """Yield the events of all, and None where others may go on. An error in one ends all.

        Raises:
            PromptError, OptionError, FitError, EngineError: as `Engine.generate`.
        """
        group = source.add_group(self._request, self._replies)
        under_way = list(enumerate(zip(self._replies, group, strict=True)))
        try:
            while under_way:
                for number, (reply, active) in under_way:
                    while active.events:
                        for event in reply.write(active.events.popleft()):
                            yield number, event
                    if active.error is not None:
                        raise active.error
                under_way = [each for each in under_way if not each[1][1].is_over]
                if under_way:
                    yield None
        finally:
            for active in group:
                source.drop(active)
