"""One reader of messages: every documented form comes out alike, and what is none is named with its place."""

from __future__ import annotations

from typing import Any

import pytest

from edgelm.errors import OptionError
from edgelm.messages.reader import read_message, read_messages, read_turns
from edgelm.messages.values import MessageError
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.many.prompts import Task
from edgelm.tune.data.encoding.messages import read_messages as read_trained

CALL = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}

FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "parts": (
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "ab"},
    ),
    "parts of the Responses API": (
        {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"role": "user", "content": "a"},
    ),
    "calls and no content": (
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [CALL], "content": ""},
    ),
    "arguments as text": (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{**CALL, "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}],
        },
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
    ),
    "the old function_call": (
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}],
        },
    ),
    "a tool's result": (
        {"role": "tool", "tool_call_id": "a", "name": "weather", "content": [{"type": "text", "text": "21"}]},
        {"role": "tool", "tool_call_id": "a", "name": "weather", "content": "21"},
    ),
    "thinking by another name": (
        {"role": "assistant", "thinking": "Hm", "content": "x"},
        {"role": "assistant", "thinking": "Hm", "content": "x", "reasoning_content": "Hm"},
    ),
    "thinking as a part": (
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
                {"type": "text", "text": "x"},
            ],
        },
        {"role": "assistant", "content": "x", "reasoning_content": "Hm"},
    ),
    "an alias": (
        {"role": "function", "name": "f", "content": "1"},
        {"role": "tool", "name": "f", "content": "1"},
    ),
    "nulls": (
        {"role": "user", "content": "x", "tool_calls": None, "name": None},
        {"role": "user", "content": "x"},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_what_templates_read(form: str) -> None:
    given, wanted = FORMS[form]
    assert read_message(given, "m") == wanted
    assert read_message(wanted, "m") == wanted
    # The same from each door.
    assert read_trained([given], "messages") == (wanted,)
    assert Task.of(0, {"messages": [given]}, GenerationOptions()).content == (wanted,)
    assert Task.of(0, [given], GenerationOptions()).content == (wanted,)


BAD: list[tuple[Any, str]] = [
    ("hi", "messages: 'hi', expected a list"),
    ({"role": "user"}, "messages: an object, expected a list"),
    ([], "messages: the list is empty"),
    (["hi"], "messages[0]: 'hi', expected an object"),
    ([{"content": "x"}], "messages[0]: no role"),
    ([{"role": "usr", "content": "x"}], "messages[0].role: 'usr', expected one of"),
    ([{"role": ["user"], "content": "x"}], "messages[0].role: a list of 1, expected one of"),
    ([{"role": "user"}], "messages[0].content: null, expected text"),
    ([{"role": "user", "content": 7}], "messages[0].content: the number 7, expected text"),
    ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0]: 'image_url', expected a text"),
    (
        [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"function": {}}]}],
        "messages[1].tool_calls[0].function.name: null",
    ),
    (
        [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}],
        "messages[0].tool_calls[0].arguments: not a valid JSON object",
    ),
    (
        [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[1]"}]}],
        "messages[0].tool_calls[0].arguments: a list of 1, expected an object",
    ),
    ([{"role": "tool", "tool_call_id": 3, "content": "x"}], "messages[0].tool_call_id: the number 3, expected text"),
    ([{"role": "assistant", "content": "x", "thinking": 1}], "messages[0].thinking: the number 1, expected text"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "said"), BAD)
def test_what_is_no_message_is_named_alike_at_every_door(value: Any, said: str) -> None:
    for read in (
        read_messages,
        lambda value: read_trained(value, "messages"),
        lambda value: Task.of(0, {"messages": value}, GenerationOptions()),
    ):
        with pytest.raises(MessageError) as error:
            read(value)
        assert error.value.message.startswith(said)
    assert isinstance(error.value, OptionError)


def test_share_gpts_keys_are_a_format_of_data() -> None:
    said = {"from": "human", "value": "Hi"}
    assert read_trained([said], "conversations") == ({"role": "user", "content": "Hi"},)
    with pytest.raises(MessageError, match="no role"):
        read_messages([said])


def test_turns_may_be_none_or_lazy_but_not_a_text() -> None:
    assert read_turns(()) == []
    assert read_turns(iter([{"role": "human", "content": "x"}])) == [{"role": "user", "content": "x"}]
    for value in ("hi", {"role": "user", "content": "x"}, 3, None):
        with pytest.raises(MessageError, match="expected a list of messages"):
            read_turns(value)  # type: ignore[arg-type]
