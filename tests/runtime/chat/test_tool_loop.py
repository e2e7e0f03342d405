"""The loop of calls: results come back as messages, refusals and faults as text, and it ends."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import pytest

from edgelm.errors import EngineError, OptionError, UnsupportedError
from edgelm.runtime.chat.chat import Chat
from edgelm.runtime.chat.tool_loop import ToolResult
from edgelm.runtime.events import ChatEvent, Finished, Text, ToolCall, Usage
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.text.prompt import require_tool_support
from edgelm.text.tools.tool import Tool

USAGE = Usage(1, 0, 2, 0.1, 0.1, 0.1, 0)
TEMPLATE = (
    "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for c in m.tool_calls or [] %}({{ c.id }} {{ c.function.name }} {{ c.function.arguments | tojson }}){% endfor %}"
    "{% if m.role == 'tool' %}={{ m.name }} {{ m.tool_call_id }}{% endif %}<end>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {{ '' if enable_thinking is false else '<think>' }}{% endif %}"
)


def price(item: str) -> int:
    """The price of an item."""
    return {"tea": 3}[item]


def call(name: str, arguments: Mapping[str, Any]) -> list[ChatEvent]:
    return [Text("{}", "tool_call"), ToolCall(name, arguments, "{}"), Finished("stop", USAGE)]


def said(text: str) -> list[ChatEvent]:
    return [Text(text), Finished("stop", USAGE)]


class Scripted:
    """A `run` that answers from a list."""

    def __init__(self, tokenizer: Any, *replies: list[ChatEvent]) -> None:
        self.tokenizer = tokenizer
        self.replies = list(replies)
        self.prompts: list[str] = []

    def __call__(self, ids: Sequence[int], options: GenerationOptions) -> Generator[ChatEvent, None, None]:
        self.prompts.append(self.tokenizer.decode(list(ids)))
        yield from self.replies.pop(0)


@pytest.fixture
def caller(tokenizer: Any) -> Any:
    """A tokenizer whose template knows tools."""
    import copy

    from mlx_lm.tokenizer_utils import TokenizerWrapper

    fast = copy.copy(tokenizer._tokenizer)
    fast.chat_template = TEMPLATE
    return TokenizerWrapper(fast)


def test_calls_are_run_and_their_results_answered(caller: Any) -> None:
    run = Scripted(caller, call("price", {"item": "tea"}), call("price", {"item": "tea"}), said("Three."))
    chat = Chat(run, caller, tools=[price], enable_thinking=False)
    assert chat.run_tools("How much is tea?").text == "Three."
    assert [message["role"] for message in chat.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
        "assistant",
    ]
    assert run.prompts[0] == "[price]user: How much is tea?<end>assistant: "
    first = 'assistant: (call00000 price {"item": "tea"})<end>tool: 3=price call00000<end>'
    assert first in run.prompts[1]
    assert first + first.replace("call00000", "call00001") in run.prompts[2]


def test_faults_and_refusals_are_told_to_the_model(caller: Any) -> None:
    calls = [*call("price", {"item": "gold"})[:-1], *call("steal", {})[:-1], *call("price", {"item": "tea"})]
    asked: list[tuple[str, Any]] = []

    def approve(tool: Tool, arguments: Mapping[str, Any]) -> bool:
        asked.append((tool.name, arguments))
        return arguments["item"] != "tea"

    chat = Chat(Scripted(caller, calls, said("Oh.")), caller, tools=[price])
    results = [event for event in chat.tool_events("Buy.", approve=approve) if isinstance(event, ToolResult)]
    assert results == [
        ToolResult("price", "error: KeyError: 'gold'", is_error=True),
        ToolResult("steal", "error: there is no function 'steal'", is_error=True),
        ToolResult("price", "error: the user did not allow this call", is_error=True),
    ]
    assert asked == [("price", {"item": "gold"}), ("price", {"item": "tea"})]
    assert [m["content"] for m in chat.messages if m["role"] == "tool"] == [result.text for result in results]


def test_the_loop_has_a_limit(caller: Any) -> None:
    run = Scripted(caller, *[call("price", {"item": "tea"})] * 5)
    chat = Chat(run, caller, tools=[price])
    with pytest.raises(EngineError, match="still calls functions after 3 replies"):
        chat.run_tools("Go on.", limit=3)
    assert len(run.prompts) == 3
    assert chat.pending_calls == []


def test_leaving_gives_every_call_a_result(caller: Any) -> None:
    run = Scripted(
        caller, [*call("price", {"item": "tea"})[:-1], *call("price", {"item": "tea"})], said("Well.")
    )

    def interrupt(*_: Any) -> bool:
        raise KeyboardInterrupt

    chat = Chat(run, caller, tools=[price])
    with pytest.raises(KeyboardInterrupt):
        chat.run_tools("Go.", approve=interrupt)
    results = [message["content"] for message in chat.messages if message["role"] == "tool"]
    assert results == ["error: the user stopped before this was run"] * 2
    assert chat.send("And?").text == "Well."


def test_calls_can_be_run_by_the_caller(caller: Any) -> None:
    definition = {"name": "price", "parameters": {"type": "object", "properties": {}}}
    chat = Chat(Scripted(caller, call("price", {"item": "tea"}), said("Three.")), caller, tools=[definition])
    with pytest.raises(OptionError, match="nothing to reply to"):
        chat.send()
    (called,) = chat.send("How much?").tool_calls
    assert (called.name, called.arguments) == ("price", {"item": "tea"})
    assert chat.pending_calls == [{"id": "call00000", "name": "price", "arguments": {"item": "tea"}}]
    with pytest.raises(OptionError, match="'call00000' has no result yet"):
        chat.send()
    with pytest.raises(OptionError, match="'other' waits for no result"):
        chat.add_result("other", "3")
    chat.add_result("call00000", "3")
    assert chat.send().text == "Three."


def test_thinking_is_switched_for_one_message(caller: Any) -> None:
    run = Scripted(caller, said("a"), said("b"), said("c"))
    chat = Chat(run, caller)
    chat.send("1")
    chat.send("2", enable_thinking=False)
    chat.enable_thinking = False
    chat.send("3", enable_thinking=True)
    assert [prompt.endswith("<think>") for prompt in run.prompts] == [True, False, True]
    assert chat.can_think


def test_tools_need_a_template_and_a_parser(caller: Any, tokenizer: Any) -> None:
    with pytest.raises(UnsupportedError, match="template does not know tools"):
        require_tool_support(tokenizer)
    with pytest.raises(UnsupportedError, match="no parser knows"):
        require_tool_support(caller)


def test_the_answer_after_calls_is_parsed(caller: Any) -> None:
    chat = Chat(Scripted(caller, said("[3]")), caller)
    assert chat.send("List.", schema={"type": "array"}).parsed == [3]
    assert chat.messages[-1]["content"] == "[3]"


def test_a_form_leaves_no_room_for_calls(caller: Any) -> None:
    with pytest.raises(OptionError, match="calls no function"):
        Chat(Scripted(caller), caller, tools=[price]).run_tools("Go.", regex="yes")
