"""What a reply becomes as a message: blocks in their order, thinking shown or only signed, and why it ended."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from edgelm.runtime.events import ChatEvent, Finished, FinishReason, Text, ToolCall, Usage
from edgelm.server.anthropic.message import MessageAnswer
from edgelm.server.anthropic.message_request import MessageRequest
from edgelm.server.anthropic.turns import chat_messages

ASK = {"role": "user", "content": "Weather?"}
CALL = ToolCall("weather", {"days": 2}, '{"name": "weather"}')


def asked(**fields: Any) -> MessageRequest:
    return MessageRequest.model_validate({"model": "m", "messages": [ASK], "max_tokens": 50, **fields})


def end(reason: FinishReason = "stop", *, tokens: int = 9, matched: str | int | None = None) -> Finished:
    return Finished(reason, Usage(20, 15, tokens, 0.0, 0.0, 0.0, 0), matched)


def answered(
    request: MessageRequest, events: Iterable[ChatEvent]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The events of the stream, and the message."""
    answer = MessageAnswer(request, 20, 15)
    sent = [answer.opening(), *(piece for event in events for piece in answer.events(event))]
    return sent, answer.message()


def pieces(sent: list[dict[str, Any]]) -> list[str]:
    """Each event in a word or two."""
    words = {
        "content_block_start": lambda each: each["content_block"]["type"],
        "content_block_delta": lambda each: each["delta"]["type"],
    }
    return [words.get(each["type"], lambda each: each["type"])(each) for each in sent]


def test_blocks_come_in_their_order() -> None:
    events = [
        Text("hm", "thinking"),
        Text("m", "thinking"),
        Text("\n\n"),
        Text("\nI look"),
        Text("."),
        Text("\n"),
        CALL,
        Text("\n"),
        CALL,
        end(),
    ]
    sent, message = answered(asked(), events)
    assert pieces(sent) == [
        "message_start",
        "thinking", "thinking_delta", "thinking_delta", "signature_delta", "content_block_stop",
        "text", "text_delta", "text_delta", "text_delta", "content_block_stop",
        "tool_use", "input_json_delta", "content_block_stop",
        "tool_use", "input_json_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert [each["index"] for each in sent if "index" in each] == [0] * 5 + [1] * 5 + [2] * 3 + [3] * 3
    thought, text, first, second = message["content"]
    assert (thought["thinking"], text["text"]) == ("hmm", "\n\n\nI look.\n")
    assert first["input"] == second["input"] == {"days": 2}
    assert first["id"] != second["id"]
    assert message["stop_reason"] == "tool_use"
    usage = message["usage"]
    assert [usage[name] for name in ("input_tokens", "cache_read_input_tokens", "output_tokens")] == [
        5,
        15,
        9,
    ]


@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_thinking_comes_back_whether_it_was_shown_or_not(display: str) -> None:
    request = asked(thinking={"type": "adaptive", "display": display})
    sent, message = answered(request, [Text("Ein Gedänke.", "thinking"), Text("It rains."), end()])
    thought = message["content"][0]
    assert thought["thinking"] == ("Ein Gedänke." if display == "summarized" else "")
    assert ("Gedänke" in json.dumps(sent, ensure_ascii=False)) == (display == "summarized")
    [signed] = [each["delta"]["signature"] for each in sent if "signature" in each.get("delta", {})]
    assert signed == thought["signature"] != ""
    _, answer = chat_messages(None, [ASK, {"role": "assistant", "content": message["content"]}])
    assert answer == {"role": "assistant", "content": "It rains.", "reasoning_content": "Ein Gedänke."}


@pytest.mark.parametrize("signature", ["", "another server's", "edgelm.thinking.###", "edgelm.thinking.//8="])
def test_signatures_of_others_say_nothing(signature: str) -> None:
    blocks = [{"type": "thinking", "thinking": "", "signature": signature}, {"type": "redacted_thinking", "data": "x"},
              {"type": "text", "text": "a"}]  # fmt: skip
    assert chat_messages(None, [{"role": "assistant", "content": blocks}]) == [
        {"role": "assistant", "content": "a"}
    ]


@pytest.mark.parametrize(
    ("finished", "reason", "matched"),
    [
        (end(), "end_turn", None),
        (end(matched=7), "end_turn", None),
        (end(matched="END"), "stop_sequence", "END"),
        (end("length", tokens=50), "max_tokens", None),
        (end("length", tokens=49), "model_context_window_exceeded", None),
    ],
)
def test_why_it_ended(finished: Finished, reason: str, matched: str | None) -> None:
    sent, message = answered(asked(), [Text("a"), finished])
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, matched)
    assert sent[-2]["delta"] == {"stop_reason": reason, "stop_sequence": matched}


def test_calls_that_are_insisted_on_but_cut_off_are_what_was_said() -> None:
    tool = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
    request = asked(tools=[tool], tool_choice={"type": "any"})
    _, message = answered(request, [Text('[{"name": "wea'), end("length", tokens=50)])
    assert message["content"] == [{"type": "text", "text": '[{"name": "wea'}]
    assert message["stop_reason"] == "max_tokens"


def test_one_call_where_no_more_are_wanted() -> None:
    request = asked(tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    _, message = answered(request, [CALL, CALL, end()])
    assert [block["type"] for block in message["content"]] == ["tool_use"]


def test_turns_of_one_role_are_one_and_results_stand_behind_their_calls() -> None:
    call = {"type": "tool_use", "id": "toolu_abcdefghi", "name": "weather", "input": {"days": 2}}
    document = {
        "type": "document",
        "title": "T",
        "source": {"type": "text", "media_type": "text/plain", "data": "D"},
    }
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_abcdefghi",
        "content": [{"type": "text", "text": "rain"}, document],
    }
    turns = [
        ASK, {"role": "user", "content": [{"type": "text", "text": "Soon?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "I "}, {"type": "text", "text": "look."}]},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [{"type": "text", "text": "And?"}, result]},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{**result, "content": "no network", "is_error": True}]},
    ]  # fmt: skip
    read = chat_messages([{"type": "text", "text": "A"}, {"type": "text", "text": "B"}], turns)
    assert [(each["role"], each["content"]) for each in read] == [
        ("system", "A\nB"), ("user", "Weather?\nSoon?"), ("assistant", "I look."), ("tool", "rain\nT\nD"), ("user", "And?"),
        ("system", "Be kind."), ("tool", "error: no network"),
    ]  # fmt: skip
    assert read[2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"days": 2}}
    assert read[2]["tool_calls"][0]["id"] == read[3]["tool_call_id"] == "abcdefghi"
