"""A finished reply, and what gathers one from the events of a generation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgelm.errors import EngineError, FormatError, OptionError
from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.events import (
    ChatEvent,
    Finished,
    FinishReason,
    OtherAnswer,
    Picked,
    Text,
    Token,
    Usage,
)
from edgelm.text.segments import ToolCall


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
    grammar: Grammar | None = None
    """What the answer was held to."""
    score: float | None = None
    """What it was judged to be worth, where it is the best of several."""
    others: tuple[OtherAnswer, ...] = ()
    """Those that it is the best of, the best of them first."""

    @property
    def parsed(self) -> Any:
        """The answer as data: what its schema describes, an instance if the schema was a Pydantic model.

        Raises:
            FormatError: the reply was cut off before it was complete.
            OptionError: the reply was not asked for by a schema.
        """
        if self.grammar is None or self.grammar.kind != "schema":
            raise OptionError("the reply has no schema to be parsed by", hint="ask with schema=…")
        if self.reason != "stop" or isinstance(self.matched, str):
            why = {"length": "at the token limit", "stop": f"by the stop string {self.matched!r}"}
            raise FormatError(
                f"the reply was cut off {why.get(self.reason, 'by its reader')}, before its JSON was complete",
                hint="raise max_tokens, or bound the schema with maxLength and maxItems",
            )
        return self.grammar.parse(self.text)


class Collector:
    """Gathers the events of one generation, whose answer was held to `grammar`."""

    def __init__(self, grammar: Grammar | None = None) -> None:
        self._grammar = grammar
        self._pieces: dict[str, list[str]] = {"answer": [], "thinking": [], "tool_call": []}
        self._tokens: list[Token] = []
        self.tool_calls: list[ToolCall] = []
        self.finished: Finished | None = None
        self._chosen: Picked | None = None

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
            case Picked():
                self._chosen = event

    def text(self, channel: str = "answer") -> str:
        """Return what has come in one channel so far."""
        return "".join(self._pieces[channel])

    def completion(self) -> Completion:
        """Return the whole.

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
            grammar=self._grammar,
            score=self._chosen.score if self._chosen else None,
            others=self._chosen.others if self._chosen else (),
        )


def collect(events: Iterable[ChatEvent], grammar: Grammar | None = None) -> Completion:
    """Wait for a generation to end, whose answer was held to `grammar`."""
    collector = Collector(grammar)
    for event in events:
        collector.add(event)
    return collector.completion()
