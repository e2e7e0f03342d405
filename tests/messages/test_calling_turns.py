"""ShareGPT's turns of calls (`function_call`, `observation`) are answers that call, and results."""

from __future__ import annotations

import pytest

from edgelm.messages.reader import read_messages
from edgelm.messages.values import MessageError

KEYS = ("from", "value")


@pytest.mark.parametrize(
    "text", ['{"name": "f", "arguments": {"a": 1}}', '[{"name": "f", "arguments": "{\\"a\\": 1}"}]']
)
def test_a_turn_of_calls_is_an_answer(text: str) -> None:
    turns = [
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": text},
        {"from": "observation", "value": "r"},
    ]
    said = read_messages(turns, "conversations", or_keys=KEYS)
    assert [turn["role"] for turn in said] == ["user", "assistant", "tool"]
    assert said[1]["content"] == ""
    assert said[1]["tool_calls"] == [{"name": "f", "arguments": {"a": 1}}]
    assert "from" not in said[1]
    assert read_messages(said) == said


@pytest.mark.parametrize("text", ["call f", "", None, "{}", "[1]"])
def test_a_turn_that_holds_no_call_is_named(text: str | None) -> None:
    with pytest.raises(MessageError, match=r"conversations\[0\]\.value"):
        read_messages([{"from": "function_call", "value": text}], "conversations", or_keys=KEYS)
