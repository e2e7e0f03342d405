"""Text generation: the engine's tokens through the decoder, the segments and the stop strings.

Runs on the engine's thread. Stop strings are looked for in the answer only: a thinking block or a tool call
may contain them. Knows nothing about conversations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from edgelm.errors import PromptError
from edgelm.runtime.constraints.budget import bounded
from edgelm.runtime.constraints.constraint import MakeConstraint
from edgelm.runtime.constraints.make import constraint_maker
from edgelm.runtime.events import ChatEvent, EngineEvent, Finished, Text, Token
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.requests import Cancel, Request
from edgelm.text.pieces import Pieces
from edgelm.text.segments import Segment, Segmenter, ToolCall
from edgelm.text.stops import StopMatcher


class RequestSource(Protocol):
    """An `Engine`, or a `Scheduler`, whose stream holds None where others may go on."""

    def generate(self, request: Request, cancel: Cancel) -> Generator[EngineEvent | None, None, None]:
        """Yield the events of one request."""


@dataclass(frozen=True, slots=True)
class Voice:
    """What the replies of one model have in common.

    Attributes:
        tokenizer: mlx-lm's TokenizerWrapper, for decoding and for its thinking and tool-call markers.
        stop_tokens: ids that end a reply, usually the model's own.
    """

    tokenizer: Any
    stop_tokens: frozenset[int] = frozenset()


def generate_text(
    source: RequestSource,
    tokenizer: Any,
    prompt: Sequence[int],
    options: GenerationOptions,
    cancel: Cancel,
    *,
    stop_tokens: frozenset[int] = frozenset(),
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> Generator[ChatEvent, None, None]:
    """Continue `prompt` and yield `Prefill`s, `Text`s, `ToolCall`s and one `Finished`.

    Args:
        source: an engine, which is driven on the way.
        tokenizer: mlx-lm's TokenizerWrapper, for decoding and for its thinking and tool-call markers.
        stop_tokens: ids that end the reply, usually the model's own.
        tools: JSON schemas of callable functions, for the parsers that use them.

    Raises:
        PromptError, OptionError, EngineError: as `Engine.generate`.
        UnsupportedError: a grammar for a tokenizer that cannot be constrained.
    """
    reply = TextReply(Voice(tokenizer, stop_tokens), prompt, options, cancel, tools=tools)
    for event in reply.events(source):
        if event is not None:
            yield event


class TextReply:
    """One reply as text: the request that it asks for, and the events that its tokens become. It is the request's `Cancel`.

    Args:
        voice: the model's tokenizer and stop tokens.
        prompt: its token ids.
        options: how the reply is made.
        cancel: set when the caller wants no more; so is the reply, when it has met a stop string.
        tools: JSON schemas of callable functions, for the parsers that use them.

    Raises:
        PromptError: the prompt holds what is no token of any tokenizer.
        UnsupportedError: a grammar for a tokenizer that cannot be constrained.
    """

    def __init__(
        self,
        voice: Voice,
        prompt: Sequence[int],
        options: GenerationOptions,
        cancel: Cancel,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        tokenizer = voice.tokenizer
        _check_ids(prompt)
        self.request = Request(
            prompt,
            sampling=options.sampling,
            max_tokens=options.max_tokens,
            stop_tokens=voice.stop_tokens,
            logprobs=options.logprobs,
            speculation=options.speculation,
            adapters=options.adapters,
            constraint=_constraint(tokenizer, prompt, options, voice.stop_tokens),
        )
        self._cancel = cancel
        self._thinking_tokens = 0
        self._segmenter = Segmenter(tokenizer, prompt, tools, plain_answer=options.grammar is not None)
        self._stops = StopMatcher(options.stop)
        self._pieces = None if options.logprobs is None else Pieces(tokenizer)

    def is_set(self) -> bool:
        """Return whether a stop string has come, or the caller wants no more."""
        return self._stops.matched is not None or self._cancel.is_set()

    def events(self, source: RequestSource) -> Generator[ChatEvent | None, None, None]:
        """Yield the reply of `source`, and None where others may go on.

        Raises:
            PromptError, OptionError, FitError, EngineError: as `Engine.generate`.
        """
        with closing(source.generate(self.request, self)) as events:
            for event in events:
                if event is None:
                    yield event
                else:
                    yield from self.write(event)

    def write(self, event: EngineEvent) -> Iterator[ChatEvent]:
        """Yield what an event of the request means as text."""
        match event:
            case Token():
                if self._pieces is not None:
                    yield _spelled(event, self._pieces)
                was_thinking = self._segmenter.is_thinking
                parts = self._segmenter.add(event.id)
                self._thinking_tokens += was_thinking or self._segmenter.is_thinking
                yield from self._pass(parts)
            case Finished():
                yield from self._pass(self._segmenter.finish())
                yield from self._release()
                yield self._ended(event)
            case _:
                yield event

    def _ended(self, event: Finished) -> Finished:
        usage = dataclasses.replace(event.usage, thinking_tokens=self._thinking_tokens)
        stop = self._stops.matched
        if stop is None:
            return dataclasses.replace(event, usage=usage)
        return dataclasses.replace(event, usage=usage, reason="stop", matched=stop)

    def _pass(self, items: Iterable[Segment | ToolCall]) -> Iterator[Text | ToolCall]:
        for item in items:
            if self._stops.matched is not None:
                return
            if isinstance(item, Segment) and item.channel == "answer":
                yield from _text(self._stops.add(item.text))
            else:
                yield from self._release()  # the answer ends here
                yield Text(item.text, item.channel) if isinstance(item, Segment) else item

    def _release(self) -> Iterator[Text]:
        yield from _text(self._stops.finish())


_MOST_ID = 2**31 - 1
"""Tokenizers decode no larger one; which ids a model has is checked where it is known."""


def _check_ids(prompt: Sequence[int]) -> None:
    """Refuse ids that no tokenizer could decode."""
    low, high = min(prompt, default=0), max(prompt, default=0)  # in C: others wait for it
    if low < 0 or high > _MOST_ID:
        raise PromptError(
            f"the prompt holds token {low if low < 0 else high}, expected ids of the vocabulary"
        )


def _spelled(token: Token, pieces: Pieces) -> Token:
    """A token with its text and that of its alternatives."""
    others = tuple(dataclasses.replace(other, text=pieces.of(other.token)) for other in token.alternatives)
    return dataclasses.replace(token, text=pieces.of(token.id), alternatives=others)


def _text(text: str) -> Iterator[Text]:
    if text:
        yield Text(text)


def _constraint(
    tokenizer: Any, prompt: Sequence[int], options: GenerationOptions, stop_tokens: frozenset[int]
) -> MakeConstraint | None:
    make = None
    if options.grammar is not None:
        may_think = options.enable_thinking is not False
        make = constraint_maker(options.grammar, tokenizer, prompt, stop_tokens, may_think=may_think)
    if options.thinking_budget is not None:
        make = bounded(make, tokenizer, prompt, options.thinking_budget)
    return make
