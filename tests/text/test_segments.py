"""Answer, thinking and tool calls are told apart; markers are in nobody's text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from mlx_lm.tool_parsers import json_tools, mistral

from edgelm.text.segments import Segment, Segmenter, ToolCall

THINK = ("<think>", "</think>")
CALL = ("<tool_call>", "</tool_call>")
TOOLS = {
    "tool_parser": json_tools.parse_tool_call,
    "tool_call_start": json_tools.tool_call_start,
    "tool_call_end": json_tools.tool_call_end,
}
WEATHER = {"name": "weather", "arguments": {"city": "Paris"}}


def split(tokenizer: Any, text: str, prompt: str = "") -> tuple[dict[str, str], list[ToolCall]]:
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    segmenter = Segmenter(tokenizer, ids)
    found = [
        item for token in tokenizer.encode(text, add_special_tokens=False) for item in segmenter.add(token)
    ]
    found += segmenter.finish()
    channels: dict[str, str] = {}
    for item in found:
        if isinstance(item, Segment):
            channels[item.channel] = channels.get(item.channel, "") + item.text
    return channels, [item for item in found if isinstance(item, ToolCall)]


def test_plain_text_is_the_answer(build_tokenizer: Callable[..., Any]) -> None:
    tokenizer = build_tokenizer("byte_level")
    assert split(tokenizer, "\n <think> is 東京 🎉") == ({"answer": "\n <think> is 東京 🎉"}, [])


def test_thinking_is_kept_apart(build_tokenizer: Callable[..., Any]) -> None:
    tokenizer = build_tokenizer("byte_level", THINK)
    channels, _ = split(tokenizer, "<think>\nHm: 🎉\n</think>\n\nParis.")
    assert channels == {"thinking": "Hm: 🎉\n", "answer": "Paris."}


def test_the_prompt_may_open_the_thinking(build_tokenizer: Callable[..., Any]) -> None:
    tokenizer = build_tokenizer("byte_level", THINK)
    assert split(tokenizer, "Hm</think>Paris", "user<think>\n")[0] == {"thinking": "Hm", "answer": "Paris"}
    assert split(tokenizer, "Paris", "<think>\n\n</think>\n\n")[0] == {"answer": "Paris"}
    assert split(tokenizer, "Paris", "what is <think> for?")[0] == {"answer": "Paris"}


@pytest.mark.parametrize("markers", [(), CALL], ids=["as text", "as tokens"])
def test_tool_calls_are_data(build_tokenizer: Callable[..., Any], markers: tuple[str, ...]) -> None:
    tokenizer = build_tokenizer("byte_level", markers, **TOOLS)
    text = json.dumps(WEATHER)
    channels, calls = split(tokenizer, f"Sure.<tool_call>\n{text}\n</tool_call>\nDone <tool")
    assert channels["answer"] == "Sure.Done <tool"
    assert channels["tool_call"].strip() == text
    assert [(call.name, call.arguments, call.error) for call in calls] == [
        ("weather", {"city": "Paris"}, None)
    ]


@pytest.mark.slow
def test_a_call_that_cannot_be_read_keeps_its_text(build_tokenizer: Callable[..., Any]) -> None:
    tokenizer = build_tokenizer("byte_level", CALL, **TOOLS)
    for broken in ("{nonsense", "[1]", '"x"', '{"arguments": {}}', "[" * 100_000):
        _, (call,) = split(tokenizer, f"<tool_call>{broken}</tool_call>")
        assert call.text == broken
        assert call.error is not None


def test_a_call_cut_off_is_said_so(build_tokenizer: Callable[..., Any]) -> None:
    tokenizer = build_tokenizer("byte_level", CALL, **TOOLS)
    _, (call,) = split(tokenizer, '<tool_call>{"name"')
    assert (call.text, call.error) == ('{"name"', "the reply ended inside the call")


def test_calls_without_an_end_marker_last_to_the_end(build_tokenizer: Callable[..., Any]) -> None:
    wrapping = {
        "tool_parser": mistral.parse_tool_call,
        "tool_call_start": "[TOOL_CALLS]",
        "tool_call_end": "",
    }
    tokenizer = build_tokenizer("byte_level", ("[TOOL_CALLS]",), **wrapping)
    _, calls = split(tokenizer, "[TOOL_CALLS]" + json.dumps([WEATHER, WEATHER]))
    assert [call.name for call in calls] == ["weather", "weather"]


def test_markers_of_several_tokens(build_tokenizer: Callable[..., Any]) -> None:
    tokenizer = build_tokenizer("byte_level", ("<|channel>", "<channel|>"))
    channels, _ = split(tokenizer, "<|channel>thought\nHm<channel|>Paris<|channel>th")
    assert channels == {"thinking": "Hm", "answer": "Paris<|channel>th"}
