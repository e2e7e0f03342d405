"""Splits a streamed reply into its answer, its thinking and its tool calls.

`edgelm.text.families` knows the markers: those made of added tokens are matched by id (`decode` may leave
them out), the others in the text. Markers are in no channel's text, nor are the newlines right after one.
Knows nothing about the engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from edgelm.text.families.family import family_of
from edgelm.text.families.harmony import read_header
from edgelm.text.families.json_calls import as_call
from edgelm.text.families.llama_calls import look_like_calls, may_begin_calls, read_llama_calls
from edgelm.text.families.markers import Channel as Channel
from edgelm.text.families.markers import Marker, Markers, State
from edgelm.text.families.opening import opening
from edgelm.text.families.table import CallForm
from edgelm.text.stops import StopMatcher
from edgelm.text.stream import DecodeTraits, StreamDecoder


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
        self._family = family_of(tokenizer)
        self._markers = Markers.of(tokenizer, plain_answer=plain_answer)
        self._traits = DecodeTraits.of(tokenizer)
        self._waiting: list[int] = []
        self._call = ""
        self._given: str | None
        self._form: CallForm | None = None
        self._has_begun = False
        self._plain_answer = plain_answer
        self._spoken: set[State] = set()
        self._is_first = True
        # Everything so far, while it may still turn out to be calls without marks around them.
        self._bare: str | None = "" if tools and self._family.takes_bare_calls and not plain_answer else None
        begin = opening(tokenizer, prompt)
        self._header = self._given = begin.header
        self._enter(begin.state, fresh=True)
        self._at_start = False

    @property
    def is_thinking(self) -> bool:
        """Whether what comes next is thinking, or ends it."""
        return self._state == "thinking"

    def add(self, token: int) -> list[Segment | ToolCall]:
        """Return the segments and calls that are certain now that `token` has come."""
        parts: list[Segment | ToolCall] = []
        self._waiting.append(token)
        while self._waiting:
            marker = self._match()
            if marker == "partly":
                return parts
            if marker is None:
                parts += self._text(self._decoder.add(self._waiting.pop(0)))
            else:
                self._waiting.clear()
                parts += self._leave() + self._switch(marker)
        return parts

    def finish(self) -> list[Segment | ToolCall]:
        """Return the segments that were held back, and a tool call that the end of the reply completes."""
        parts: list[Segment | ToolCall] = []
        for token in self._waiting:
            parts += self._text(self._decoder.add(token))
        parts += self._leave()
        if self._state == "tool_call":
            parts += self._calls(closed=self._family.is_harmony or not self._active)
        if self._state == "header" and self._given is not None:
            # No message began: it is not harmony that the model writes.
            text, self._header = self._header.removeprefix(self._given), ""
            return [*parts, Segment(text, "answer")] if text and not text.lstrip().startswith("<|") else parts
        return parts + self._end_of_bare()

    def _match(self) -> Marker | Literal["partly"] | None:
        partly = False
        for marker in self._active:
            if marker.ids == tuple(self._waiting):
                return marker
            partly |= marker.ids[: len(self._waiting)] == tuple(self._waiting)
        return "partly" if partly else None

    def _text(self, piece: str) -> list[Segment | ToolCall]:
        """Pass text on, switching at markers that are plain text."""
        parts = self._segment(self._matcher.add(piece))
        while self._matcher.matched is not None:
            marker = next(m for m in self._active if m.text == self._matcher.matched)
            rest = self._matcher.rest
            parts += self._switch(marker, fresh=False)
            parts += self._segment(self._matcher.add(rest))
        return parts

    def _leave(self) -> list[Segment | ToolCall]:
        """The text still held in the decoder and the matcher."""
        parts = self._text(self._decoder.finish())
        return parts + self._segment(self._matcher.finish())

    def _segment(self, text: str) -> list[Segment | ToolCall]:
        if self._state == "header":
            self._header += text
            return []
        if self._at_start:
            text = text.lstrip("\n")
        if not text:
            return []
        self._at_start = False
        if self._state == "tool_call":
            self._call += text
        elif self._state == "answer" and self._bare is not None:
            return self._hold(text)
        return [*self._gap(), Segment(text, self._state)]

    def _gap(self) -> list[Segment | ToolCall]:
        """Between two harmony messages of one channel stands an empty line."""
        is_first, self._is_first = self._is_first, False
        if not (is_first and self._family.is_harmony) or self._state not in ("answer", "thinking"):
            return []
        again = self._state in self._spoken
        self._spoken.add(self._state)
        return [Segment("\n\n", self._state)] if again else []

    def _hold(self, text: str) -> list[Segment | ToolCall]:
        self._bare = (self._bare or "") + text
        return [] if may_begin_calls(self._bare) else self._let_go()

    def _let_go(self) -> list[Segment | ToolCall]:
        """What was held back is the answer after all."""
        text, self._bare = self._bare, None
        return [Segment(text, "answer")] if text else []

    def _end_of_bare(self) -> list[Segment | ToolCall]:
        text = self._bare or ""
        if not look_like_calls(text):
            return self._let_go()
        self._bare = None
        return [Segment(text, "tool_call"), *parse_tool_calls(read_llama_calls, text, self._tools)]

    def _switch(self, marker: Marker, *, fresh: bool = True) -> list[Segment | ToolCall]:
        if self._form is not None and self._form.keeps_marks:
            self._call += marker.text
        parts = self._calls(closed=True) if self._state == "tool_call" else []
        if marker.leads_to == "tool_call":
            parts = self._let_go() if self._bare is not None else parts
        state, self._form = marker.leads_to, marker.form
        if marker.leads_to == "header":
            self._header, self._given = marker.text, None
        elif self._state == "header":
            state = self._begin_message()
        self._enter(state, fresh=fresh)
        if marker.form is not None and marker.form.keeps_marks:
            self._call = marker.text
        return parts

    def _begin_message(self) -> State:
        header, self._header = read_header(self._header), ""
        if header.kind == "tool_call":
            self._form = CallForm("", "", partial(_harmony_call, header.function))
        return header.kind

    def _enter(self, state: State, *, fresh: bool) -> None:
        self._state: State = state
        self._is_first = True
        active = self._markers.by_state.get(state, ())
        if state == "tool_call" and self._form is not None and not self._family.is_harmony:
            active = self._markers.ends[self._form.start]
        if self._plain_answer and state == "answer" and self._has_begun:
            active = ()
        self._active = active
        self._has_begun = True
        self._matcher = StopMatcher(marker.text for marker in self._active if not marker.ids)
        self._at_start = not self._family.is_harmony
        if fresh:
            # Some families write their calls with special tokens, which their parsers look for.
            skip = state not in ("tool_call", "header")
            traits = self._traits if skip else DecodeTraits.of(self._tokenizer, skip_special_tokens=False)
            self._decoder = StreamDecoder(self._tokenizer, skip_special_tokens=skip, traits=traits)

    def _calls(self, *, closed: bool) -> list[Segment | ToolCall]:
        text, self._call = self._call, ""
        if self._form is None:
            return []
        calls = parse_tool_calls(self._form.read, text, self._tools)
        if not closed and calls[0].error is not None:
            return [ToolCall("", {}, text, error="the reply ended inside the call")]
        return list(calls)


def _harmony_call(function: str, text: str, _: Any) -> list[dict[str, Any]]:
    return [as_call(function, text)]


_UNREADABLE = (
    ValueError, LookupError, TypeError, AttributeError, SyntaxError, RecursionError, ArithmeticError,
)  # fmt: skip


def parse_tool_calls(
    parser: Any, text: str, tools: Sequence[Mapping[str, Any]] | None = None
) -> list[ToolCall]:
    """Return the calls in the text between two markers; what cannot be read is one call with its `error`."""
    try:
        parsed = parser(text, tools)
        calls = parsed if isinstance(parsed, list) else [parsed]
        return [ToolCall(call["name"], _arguments(call.get("arguments")), text) for call in calls]
    # The parsers meet whatever the model wrote and raise accordingly.
    except _UNREADABLE as error:
        return [ToolCall("", {}, text, error=f"{type(error).__name__}: {error}")]


def _arguments(value: Any) -> Mapping[str, Any]:
    arguments = json.loads(value) if isinstance(value, str) else value or {}
    if not isinstance(arguments, dict):
        raise ValueError(f"arguments are {arguments!r}, expected an object")
    return arguments
