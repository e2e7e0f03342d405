"""Parts of an answer: what the model wrote of a call is no part of what it said or thought."""

from __future__ import annotations

from edgelm.runtime.events import Finished, Text, ToolCall, Usage
from edgelm.server.exchange.parts import AnswerEnd, AnswerParts, FunctionCall


def test_the_text_of_a_call_is_the_call_alone() -> None:
    parts = AnswerParts(None, is_one_call=False)
    written = '{"name": "f", "arguments": {}}'
    events = [
        Text("I look."),
        Text(written, "tool_call"),
        ToolCall("f", {}, written),
        ToolCall("", {}, "{", "cut"),
    ]
    said, call, unread, end = [
        part for event in [*events, Finished("stop", Usage(1, 0, 1, 0, 0, 0, 0))] for part in parts.of(event)
    ]
    assert said == Text("I look.")
    assert isinstance(call, FunctionCall)
    assert unread == Text("{")
    assert isinstance(end, AnswerEnd)
    assert end.reason == "calls"
