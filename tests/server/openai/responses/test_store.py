"""Kept responses: the oldest go first, by number and by size, and those that go on from them lose nothing."""

from __future__ import annotations

from typing import Any

import pytest

from edgelm.messages.values import MessageError
from edgelm.server.http.errors import RequestError
from edgelm.server.openai.responses.items import messages_of
from edgelm.server.openai.responses.store import ResponseStore, StoredResponse
from edgelm.server.openai.responses.thoughts import unwrap, wrap


def kept(name: str, text: str = "x", before: Any = ()) -> StoredResponse:
    output = [{"type": "message", "role": "assistant", "id": f"msg_{name}", "content": text}]
    asked = [{"type": "message", "role": "user", "content": "?"}]
    return StoredResponse({"id": name, "output": output}, before, asked)


def test_the_oldest_make_room() -> None:
    store = ResponseStore(most=2)
    store.add(kept("a"))
    store.add(kept("b", before=store.get("a").items))
    store.get("a")  # used: b is the oldest now
    store.add(kept("c"))
    with pytest.raises(RequestError) as refusal:
        store.get("b", "previous_response_id")
    assert (refusal.value.status, refusal.value.code) == (404, "previous_response_not_found")
    assert store.item("msg_a") == kept("a").response["output"][0]
    assert store.item("msg_b") is None


def test_size_counts() -> None:
    store = ResponseStore(most_bytes=4 * kept("a").size_bytes)
    for name in "abcdef":
        store.add(kept(name))
    assert store.item("msg_c") is not None
    assert store.item("msg_b") is None
    store.add(kept("g", "x" * 10_000))  # larger than all there is room for
    assert store.item("msg_f") is None
    store.add(kept("h"))
    store.delete("h")
    assert store.item("msg_h") is None


def test_an_answer_is_one_message_of_thinking_text_and_calls() -> None:
    items: list[Any] = [
        {"role": "system", "content": "Two."},
        {"role": "developer", "content": [{"type": "input_text", "text": "Three."}]},
        {"role": "user", "content": "Go."},
        {"type": "reasoning", "summary": [], "encrypted_content": wrap("Hm.")},
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"type": "function_call", "call_id": "a", "name": "f", "namespace": "n", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "b", "name": "g", "input": "text"},
        {
            "type": "local_shell_call",
            "call_id": "c",
            "action": {"type": "exec", "command": ["ls"], "env": {}},
        },
        {"type": "custom_tool_call_output", "call_id": "b", "output": "done"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "cut off"}]},
    ]
    system, user, answer, result = messages_of(items, "One.", lambda _: None)
    assert system == {"role": "system", "content": "One.\n\nTwo.\n\nThree."}
    assert user == {"role": "user", "content": "Go."}
    assert (answer["content"], answer["reasoning_content"]) == ("No.", "Hm.")
    assert [call["function"] for call in answer["tool_calls"]] == [
        {"name": "n__f", "arguments": "{}"},
        {"name": "g", "arguments": '{"input": "text"}'},
        {"name": "local_shell", "arguments": '{"command": ["ls"]}'},
    ]
    assert result == {"role": "tool", "tool_call_id": "b", "name": "g", "content": "done"}


def test_carried_thinking_comes_back_whole_or_not_at_all() -> None:
    assert unwrap(wrap("Grüße"), "") == "Grüße"
    for broken in ("edgelm1.%%", "edgelm1.wyg=", "gAAA"):
        with pytest.raises(MessageError):
            unwrap(broken, "input[0]")
