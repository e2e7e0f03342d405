"""Splits a streamed reply into its answer, its thinking and its tool calls.

The tokenizer wrapper knows the markers: those made of added tokens are matched by id (`decode` may leave
them out), the others in the text. Markers are in no channel's text, nor are the newlines right after one.
Knows nothing about the engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgelm.text.stops import StopMatcher
from edgelm.text.stream import DecodeTraits, StreamDecoder

Channel = Literal["answer", "thinking", "tool_call"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of one channel's text."""

    text: str
    channel: Channel


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call. `text` is what the model wrote; `error` says why that could not be read."""

    name: str
    arguments: Mapping[str, Any]
    text: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Marker:
    """What switches from one channel to another; found by `ids` if it has any, else by `text`."""

    text: str
    ids: tuple[int, ...]
    leads_to: Channel


@dataclass(frozen=True)
class Markers:
    """The markers that matter in each channel; none for a model without thinking or tools."""

    by_channel: Mapping[Channel, tuple[Marker, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, tokenizer: Any, *, plain_answer: bool = False) -> Markers:
        """Read them off mlx-lm's TokenizerWrapper."""
        added = frozenset(tokenizer.added_tokens_decoder)

        def marker(text: str | None, ids: Sequence[int] | None, leads_to: Channel) -> tuple[Marker, ...]:
            if not text:
                return ()
            found = tuple(ids or ())
            return (Marker(text, found if added.intersection(found) else (), leads_to),)

        start, end = tokenizer.think_start_tokens, tokenizer.think_end_tokens
        call, done = tokenizer.tool_call_start_tokens, tokenizer.tool_call_end_tokens
        thinking = marker(tokenizer.think_start, start, "thinking")
        calling = () if plain_answer else marker(tokenizer.tool_call_start, call, "tool_call")
        return cls(
            by_channel={
                "answer": thinking + calling,
                "thinking": marker(tokenizer.think_end, end, "answer"),
                "tool_call": marker(tokenizer.tool_call_end, done, "answer"),
            },
        )


class Segmenter:
    """Token ids in, segments and tool calls out.

    Args:
        tokenizer: mlx-lm's TokenizerWrapper.
        prompt: the prompt's ids; one that ends by opening a thinking block starts the reply inside it.
        tools: JSON schemas, for the parsers that use them to type the arguments.
        plain_answer: the answer is text of a given form, in which what looks like a marker is none; only
            a thinking block may come before it.
    """

    def __init__(
        self,
        tokenizer: Any,
        prompt: Sequence[int] = (),
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        plain_answer: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._tools = tools
        self._markers = Markers.of(tokenizer, plain_answer=plain_answer)
        self._traits = DecodeTraits.of(tokenizer)
        self._waiting: list[int] = []
        self._call = ""
        self._has_begun = False
        self._plain_answer = plain_answer
        self._enter("thinking" if opens_thinking(tokenizer, prompt) else "answer", fresh=True)
        self._at_start = False

    def add(self, token: int) -> list[Segment | ToolCall]:
        """What is certain now that `token` has come."""
        found: list[Segment | ToolCall] = []
        self._waiting.append(token)
        while self._waiting:
            marker = self._match()
            if marker == "partly":
                return found
            if marker is None:
                found += self._text(self._decoder.add(self._waiting.pop(0)))
            else:
                self._waiting.clear()
                found += self._leave() + self._switch(marker)
        return found

    def finish(self) -> list[Segment | ToolCall]:
        """What was held back, and a tool call that the end of the reply completes."""
        found: list[Segment | ToolCall] = []
        for token in self._waiting:
            found += self._text(self._decoder.add(token))
        found += self._leave()
        if self._channel == "tool_call":
            found += self._calls(closed=not self._active)
        return found

    def _match(self) -> Marker | Literal["partly"] | None:
        partly = False
        for marker in self._active:
            if marker.ids == tuple(self._waiting):
                return marker
            partly |= marker.ids[: len(self._waiting)] == tuple(self._waiting)
        return "partly" if partly else None

    def _text(self, piece: str) -> list[Segment | ToolCall]:
        """Pass text on, switching at markers that are plain text."""
        found = self._segment(self._matcher.add(piece))
        while self._matcher.matched is not None:
            marker = next(m for m in self._active if m.text == self._matcher.matched)
            rest = self._matcher.rest
            found += self._switch(marker, fresh=False)
            found += self._segment(self._matcher.add(rest))
        return found

    def _leave(self) -> list[Segment | ToolCall]:
        """The text still held in the decoder and the matcher."""
        found = self._text(self._decoder.finish())
        return found + self._segment(self._matcher.finish())

    def _segment(self, text: str) -> list[Segment | ToolCall]:
        if self._at_start:
            text = text.lstrip("\n")
        if not text:
            return []
        self._at_start = False
        if self._channel == "tool_call":
            self._call += text
        return [Segment(text, self._channel)]

    def _switch(self, marker: Marker, *, fresh: bool = True) -> list[Segment | ToolCall]:
        calls = self._calls(closed=True) if self._channel == "tool_call" else []
        self._enter(marker.leads_to, fresh=fresh)
        return calls

    def _enter(self, channel: Channel, *, fresh: bool) -> None:
        self._channel: Channel = channel
        self._active = self._markers.by_channel.get(channel, ())
        if self._plain_answer and channel == "answer" and self._has_begun:
            self._active = ()
        self._has_begun = True
        self._matcher = StopMatcher(marker.text for marker in self._active if not marker.ids)
        self._at_start = True
        if fresh:
            # Some families write their calls with special tokens, which their parsers look for.
            skip = channel != "tool_call"
            traits = self._traits if skip else DecodeTraits.of(self._tokenizer, skip_special_tokens=False)
            self._decoder = StreamDecoder(self._tokenizer, skip_special_tokens=skip, traits=traits)

    def _calls(self, *, closed: bool) -> list[Segment | ToolCall]:
        text, self._call = self._call, ""
        if not closed:
            return [ToolCall("", {}, text, error="the reply ended inside the call")]
        return list(parse_tool_calls(self._tokenizer.tool_parser, text, self._tools))


def opens_thinking(tokenizer: Any, prompt: Sequence[int]) -> bool:
    """Whether the prompt ends with the start of a thinking block and nothing but space after it."""
    start = tuple(tokenizer.think_start_tokens or ())
    for at in range(len(prompt) - len(start), max(len(prompt) - len(start) - 8, -1), -1):
        if start and tuple(prompt[at : at + len(start)]) == start:
            after = list(prompt[at + len(start) :])
            return not tokenizer.decode(after, skip_special_tokens=False).strip()
    return False


def parse_tool_calls(
    parser: Any, text: str, tools: Sequence[Mapping[str, Any]] | None = None
) -> list[ToolCall]:
    """The calls in the text between two markers; what cannot be read is one call with its `error`."""
    try:
        parsed = parser(text, tools)
        calls = parsed if isinstance(parsed, list) else [parsed]
        return [ToolCall(call["name"], _arguments(call.get("arguments")), text) for call in calls]
    # The parsers meet whatever the model wrote and raise accordingly.
    except (ValueError, LookupError, TypeError, AttributeError, SyntaxError, RecursionError) as error:
        return [ToolCall("", {}, text, error=f"{type(error).__name__}: {error}")]


def _arguments(value: Any) -> Mapping[str, Any]:
    arguments = json.loads(value) if isinstance(value, str) else value or {}
    if not isinstance(arguments, dict):
        raise ValueError(f"arguments are {arguments!r}, expected an object")
    return arguments
