"""Text generation: the engine's tokens through the decoder, the segments and the stop strings.

Runs on the engine's thread. Stop strings are looked for in the answer only: a thinking block or a tool call
may contain them. Knows nothing about conversations.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Self

from edgelm.errors import EngineError, OptionError
from edgelm.options import Options, option
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import ChatEvent, Finished, FinishReason, Text, Token, Usage
from edgelm.runtime.requests import Cancel, Request
from edgelm.runtime.sampling import Sampling
from edgelm.text.segments import Segment, Segmenter, ToolCall
from edgelm.text.stops import StopMatcher, as_stops


@dataclass(frozen=True)
class GenerationOptions(Options):
    """How a reply is made.

    Raises:
        OptionError: a setting outside what it may be.
    """

    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = option(
        None, "stop after so many tokens; None is until the context is full", ge=1
    )
    logprobs: int | None = option(
        None, "report log-probabilities, and so many alternatives for each token", ge=0, le=20
    )
    speculation: bool = option(True, "guess ahead where that is faster; the text is the same")
    stop: tuple[str, ...] = ()
    """Strings that end the reply and are not part of it; one string or several may be given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.sampling, Sampling):
            raise OptionError(f"sampling is {self.sampling!r}, expected Sampling")
        object.__setattr__(self, "stop", as_stops(self.stop))

    def changed(self, **settings: Any) -> Self:
        """A copy with some settings changed; those of `Sampling` may be named directly.

        Raises:
            OptionError: a setting that does not exist, or outside what it may be.
        """
        own = {item.name for item in dataclasses.fields(self)}
        sampling = {item.name for item in dataclasses.fields(Sampling)}
        for name in settings:
            if name not in own | sampling:
                near = difflib.get_close_matches(name, own | sampling, n=1)
                raise OptionError(
                    f"there is no setting {name!r}", hint=f"did you mean {near[0]}?" if near else None
                )
        drawn = {name: value for name, value in settings.items() if name in sampling}
        rest = {name: value for name, value in settings.items() if name in own}
        if drawn:
            rest["sampling"] = dataclasses.replace(rest.get("sampling", self.sampling), **drawn)
        return dataclasses.replace(self, **rest)


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished reply."""

    text: str
    reason: FinishReason
    usage: Usage
    matched: str | int | None = None
    """The stop string or stop token that ended it, if one did."""
    tokens: tuple[int, ...] = ()
    """The ids sampled, a final stop token excluded."""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[Token, ...] = ()
    """One for each of `tokens`, where log-probabilities were asked for."""


class Collector:
    """Gathers the events of one generation."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[str]] = {"answer": [], "thinking": [], "tool_call": []}
        self._tokens: list[Token] = []
        self.tool_calls: list[ToolCall] = []
        self.finished: Finished | None = None

    def add(self, event: ChatEvent) -> None:
        """Take note of `event`."""
        match event:
            case Text(text, channel):
                self._pieces[channel].append(text)
            case Token():
                self._tokens.append(event)
            case ToolCall():
                self.tool_calls.append(event)
            case Finished():
                self.finished = event

    def text(self, channel: str = "answer") -> str:
        """What has come in one channel so far."""
        return "".join(self._pieces[channel])

    def completion(self) -> Completion:
        """The whole.

        Raises:
            EngineError: the generation has not finished.
        """
        if self.finished is None:
            raise EngineError("the generation ended without a result")
        return Completion(
            text=self.text(),
            reason=self.finished.reason,
            usage=self.finished.usage,
            matched=self.finished.matched,
            tokens=self.finished.tokens,
            thinking=self.text("thinking"),
            tool_calls=tuple(self.tool_calls),
            logprobs=tuple(self._tokens),
        )


def collect(events: Iterable[ChatEvent]) -> Completion:
    """Wait for a generation to end."""
    collector = Collector()
    for event in events:
        collector.add(event)
    return collector.completion()


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
    """
    writer = _Writer(tokenizer, prompt, options.stop, tools)
    request = Request(
        prompt,
        sampling=options.sampling,
        max_tokens=options.max_tokens,
        stop_tokens=stop_tokens,
        logprobs=options.logprobs,
        speculation=options.speculation,
    )
    with closing(engine.generate(request, _Either(cancel, writer))) as events:
        for event in events:
            match event:
                case Token(id=token):
                    if options.logprobs is not None:
                        yield event
                    yield from writer.add(token)
                case Finished():
                    yield from writer.finish()
                    yield writer.conclude(event)
                case _:
                    yield event


class _Writer:
    """Turns tokens into the events of a reply, up to a stop string."""

    def __init__(
        self,
        tokenizer: Any,
        prompt: Sequence[int],
        stops: tuple[str, ...],
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> None:
        self._segmenter = Segmenter(tokenizer, prompt, tools)
        self._stops = StopMatcher(stops)

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
