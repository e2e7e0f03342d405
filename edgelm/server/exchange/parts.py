"""What a reply is made of, whatever API it goes to: what is said, thought and called, and how it ended."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgelm.runtime.events import ChatEvent, Finished, Text, ToolCall, Usage
from edgelm.server.exchange.calls import ForcedCalls

_CALL_LETTERS = string.ascii_letters + string.digits

EndReason = Literal["stop", "length", "calls"]


def new_call_id() -> str:
    """Return an id of nine letters and digits: Mistral's templates refuse any other when it comes back."""
    return "".join(secrets.choice(_CALL_LETTERS) for _ in range(9))


@dataclass(frozen=True)
class FunctionCall:
    """A function that the model calls."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class AnswerEnd:
    """How a reply ended, and what it took."""

    reason: EndReason
    matched: str | None
    """The stop string that ended it, if one did."""
    usage: Usage


AnswerPart = Text | FunctionCall | AnswerEnd


class AnswerParts:
    """Events of one reply in, parts of an answer out: any number of `Text` and `FunctionCall`, then one `AnswerEnd`.

    Args:
        forced: the calls that the answer is made of, where the request insists on some.
        is_one_call: later calls are left out.
    """

    def __init__(self, forced: ForcedCalls | None, *, is_one_call: bool) -> None:
        self._forced, self._is_one_call = forced, is_one_call
        self._held = ""
        self._calls = 0

    def of(self, event: ChatEvent) -> Iterator[AnswerPart]:
        """Yield what an event adds."""
        match event:
            case Text(text, "answer") if self._forced is not None:
                self._held += text
            case Text(channel="tool_call"):
                pass  # the call itself comes when it is whole
            case Text():
                yield event
            case ToolCall(error=None):
                if not (self._is_one_call and self._calls):
                    yield self._call(event.name, event.arguments)
            case ToolCall():
                # What could not be read as a call is what the model said.
                yield Text(event.text)
            case Finished():
                yield from self._forced_calls()
                stop = event.matched if isinstance(event.matched, str) else None
                yield AnswerEnd(self._reason(event), stop, event.usage)

    def _reason(self, end: Finished) -> EndReason:
        if end.reason == "length":
            return "length"
        return "calls" if self._calls else "stop"

    def _forced_calls(self) -> Iterator[AnswerPart]:
        if self._forced is None:
            return
        calls = self._forced.read(self._held)
        if calls is not None:
            yield from (self._call(name, arguments) for name, arguments in calls)
        elif self._held:
            yield Text(self._held)

    def _call(self, name: str, arguments: Mapping[str, Any]) -> FunctionCall:
        self._calls += 1
        return FunctionCall(new_call_id(), name, dict(arguments))
