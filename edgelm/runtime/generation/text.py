"""Text generation: the engine's tokens through the decoder, the segments and the stop strings.

Runs on the engine's thread. Stop strings are looked for in the answer only: a thinking block or a tool call
may contain them. Knows nothing about conversations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from edgelm.runtime.constraints.constraint import MakeConstraint
from edgelm.runtime.constraints.make import constraint_maker
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import ChatEvent, Finished, Text, Token
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.requests import Cancel, Request
from edgelm.text.pieces import Pieces
from edgelm.text.segments import Segment, Segmenter, ToolCall
from edgelm.text.stops import StopMatcher


def generate_text(
    engine: Engine,
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
        tokenizer: mlx-lm's TokenizerWrapper, for decoding and for its thinking and tool-call markers.
        stop_tokens: ids that end the reply, usually the model's own.
        tools: JSON schemas of callable functions, for the parsers that use them.

    Raises:
        PromptError, OptionError, EngineError: as `Engine.generate`.
        UnsupportedError: a grammar for a tokenizer that cannot be constrained.
    """
    writer = _Writer(tokenizer, prompt, options, tools)
    request = Request(
        prompt,
        sampling=options.sampling,
        max_tokens=options.max_tokens,
        stop_tokens=stop_tokens,
        logprobs=options.logprobs,
        speculation=options.speculation,
        constraint=_constraint(tokenizer, prompt, options, stop_tokens),
    )
    pieces = None if options.logprobs is None else Pieces(tokenizer)
    with closing(engine.generate(request, _Either(cancel, writer))) as events:
        for event in events:
            match event:
                case Token(id=token):
                    if pieces is not None:
                        yield _spelled(event, pieces)
                    yield from writer.add(token)
                case Finished():
                    yield from writer.finish()
                    yield writer.conclude(event)
                case _:
                    yield event


def _constraint(
    tokenizer: Any, prompt: Sequence[int], options: GenerationOptions, stop_tokens: frozenset[int]
) -> MakeConstraint | None:
    if options.grammar is None:
        return None
    may_think = options.enable_thinking is not False
    return constraint_maker(options.grammar, tokenizer, prompt, stop_tokens, may_think=may_think)


class _Writer:
    """Turns tokens into the events of a reply, up to a stop string."""

    def __init__(
        self,
        tokenizer: Any,
        prompt: Sequence[int],
        options: GenerationOptions,
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> None:
        self._segmenter = Segmenter(tokenizer, prompt, tools, plain_answer=options.grammar is not None)
        self._stops = StopMatcher(options.stop)

    @property
    def is_done(self) -> bool:
        """Whether a stop string has come."""
        return self._stops.matched is not None

    def add(self, token: int) -> Iterator[Text | ToolCall]:
        yield from self._pass(self._segmenter.add(token))

    def finish(self) -> Iterator[Text | ToolCall]:
        yield from self._pass(self._segmenter.finish())
        yield from self._release()

    def conclude(self, finished: Finished) -> Finished:
        """The engine's account, with the stop string where one ended the reply."""
        if not self.is_done:
            return finished
        return dataclasses.replace(finished, reason="stop", matched=self._stops.matched)

    def _pass(self, items: Iterable[Segment | ToolCall]) -> Iterator[Text | ToolCall]:
        for item in items:
            if self.is_done:
                return
            if isinstance(item, Segment) and item.channel == "answer":
                yield from _text(self._stops.add(item.text))
            else:
                yield from self._release()  # the answer ends here
                yield Text(item.text, item.channel) if isinstance(item, Segment) else item

    def _release(self) -> Iterator[Text]:
        yield from _text(self._stops.finish())


def _spelled(token: Token, pieces: Pieces) -> Token:
    """A token with its text and that of its alternatives."""
    others = tuple(dataclasses.replace(other, text=pieces.of(other.token)) for other in token.alternatives)
    return dataclasses.replace(token, text=pieces.of(token.id), alternatives=others)


def _text(text: str) -> Iterator[Text]:
    if text:
        yield Text(text)


@dataclass(frozen=True, slots=True)
class _Either:
    """Set when the caller cancels or the reply has met a stop string."""

    cancel: Cancel
    writer: _Writer

    def is_set(self) -> bool:
        return self.writer.is_done or self.cancel.is_set()
