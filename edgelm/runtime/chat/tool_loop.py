"""Reply, call, result, reply: until the model answers without calling a function.

Every call is data in the history before it runs, and every one gets a result there, also where it was refused
or the loop was left: templates refuse a call without one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from edgelm.errors import EngineError
from edgelm.runtime.events import ChatEvent
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.text.tools.tool import Tool, ToolOutput

Approve = Callable[[Tool, Mapping[str, Any]], bool]
"""Asked before a function runs, with its arguments: whether it may."""

_REFUSED = ToolOutput("error: the user did not allow this call", is_error=True)
_STOPPED = "error: the user stopped before this was run"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call came to: `text` is what the model reads of it."""

    name: str
    text: str
    is_error: bool = False


ToolEvent = ChatEvent | ToolResult


class CallingChat(Protocol):
    """What the loop needs of a conversation; `Chat` is one."""

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The functions that the model may call, by name."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The turns so far."""

    @property
    def pending_calls(self) -> list[dict[str, Any]]:
        """The calls of the last reply that have no result yet."""

    def add_result(self, call_id: str, text: str) -> None:
        """Put the result of a pending call into the history."""

    def reply_events(self, text: str | None, options: GenerationOptions) -> Generator[ChatEvent, None, None]:
        """Say `text`, or go on after results, and yield what happens in the reply."""


def tool_events(
    chat: CallingChat, text: str, options: GenerationOptions, approve: Approve | None, limit: int
) -> Generator[ToolEvent, None, None]:
    """Say `text`; yield what happens in every reply and the result of every call. See `Chat.tool_events`."""
    said: str | None = text
    others = {call["id"] for call in chat.pending_calls}  # which the caller has left open
    try:
        for _ in range(limit):
            with closing(chat.reply_events(said, options)) as events:
                yield from events
            calls = chat.pending_calls
            if not calls or "partial" in chat.messages[-1]:
                return
            for call in calls:
                output = _run(chat.tools.get(call["name"]), call, approve)
                chat.add_result(call["id"], output.text)
                yield ToolResult(call["name"], output.text, output.is_error)
            said = None
    finally:
        for call in chat.pending_calls:
            if call["id"] not in others:
                chat.add_result(call["id"], _STOPPED)
    raise EngineError(
        f"the model still calls functions after {limit} replies",
        hint="raise the limit, or say what is missing",
    )


def _run(tool: Tool | None, call: Mapping[str, Any], approve: Approve | None) -> ToolOutput:
    if tool is None:
        return ToolOutput(f"error: there is no function {call['name']!r}", is_error=True)
    if approve is not None and not approve(tool, call["arguments"]):
        return _REFUSED
    return tool.call(call["arguments"])
