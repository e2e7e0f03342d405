"""Anthropic's own client: messages, streams, tools and forms are those of the model without a server, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import jsonschema
import pydantic
import pytest

import edgelm
from edgelm.server.anthropic.wire import error_response
from edgelm.server.http.errors import RequestError

pytestmark = pytest.mark.slow

ASK: list[Any] = [{"role": "user", "content": "Why is the sky blue?"}]
DAYS = {"type": "integer", "minimum": 1, "maximum": 9}
WEATHER: Any = {
    "name": "weather",
    "description": "Tell the weather.",
    "input_schema": {"type": "object", "properties": {"days": DAYS}, "required": ["days"], "additionalProperties": False},
}  # fmt: skip
NOW: Any = {
    "name": "now",
    "input_schema": {"type": "object", "properties": {}, "additionalProperties": False},
}


@pytest.fixture(scope="module")
def claude(address: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=address, api_key="none", max_retries=0) as client:
        yield client


def ask(claude: anthropic.Anthropic, **fields: Any) -> Any:
    given = {"model": "tiny", "messages": ASK, "max_tokens": 12, **fields}
    known = (
        "model",
        "messages",
        "max_tokens",
        "system",
        "tools",
        "tool_choice",
        "stop_sequences",
        "stream",
        "thinking",
    )
    extra = {name: given.pop(name) for name in list(given) if name not in known}
    return claude.messages.create(**given, extra_body=extra)


def events(address: str, **fields: Any) -> list[Any]:
    """The events of a stream as they are sent."""
    body = {"model": "tiny", "messages": ASK, "max_tokens": 12, "stream": True, **fields}
    lines = httpx2.post(f"{address}/v1/messages?beta=true", json=body, timeout=60).text.split("\n\n")
    sent = [line.split("\n") for line in lines if line.startswith("event: ")]
    read = [json.loads(data.removeprefix("data: ")) for _, data in sent]
    assert [name.removeprefix("event: ") for name, _ in sent] == [each["type"] for each in read]
    return read


def order(sent: list[Any]) -> list[str]:
    """The types of events, those of a row of deltas once, without pings."""
    types = [each["type"] for each in sent if each["type"] != "ping"]
    return [kind for index, kind in enumerate(types) if index == 0 or types[index - 1] != kind]


def test_a_message_is_the_models_own(claude: anthropic.Anthropic, model: edgelm.Model) -> None:
    message = ask(claude, temperature=0.0, system="Be brief.")
    expected = model.chat(system="Be brief.").send(ASK[0]["content"], greedy=True, max_tokens=12)
    assert "".join(block.text for block in message.content) == expected.text.lstrip()
    assert message.stop_reason == {"stop": "end_turn", "length": "max_tokens"}[expected.reason]
    assert (message.role, message.type, message.model, message.stop_sequence) == (
        "assistant",
        "message",
        "tiny",
        None,
    )
    usage = message.usage
    assert usage.input_tokens + usage.cache_read_input_tokens == expected.usage.prompt_tokens
    assert usage.output_tokens == expected.usage.completion_tokens
    assert message._request_id.startswith("req_")


def test_a_prompt_that_was_computed_is_read_from_the_cache(claude: anthropic.Anthropic) -> None:
    """The line of a bill that Claude Code puts before its system prompt differs each time, and is not part of it."""
    cached = []
    for bill in ("a1", "b2"):
        block = {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2; cch={bill};"}
        rules = {"type": "text", "text": "A rule to keep. " * 12, "cache_control": {"type": "ephemeral"}}
        usage = ask(claude, system=[block, rules]).usage
        cached.append(usage.cache_read_input_tokens)
    assert cached[1] > 3 * usage.input_tokens
    assert usage.cache_creation_input_tokens == 0


def test_a_stream_has_the_documented_events_in_their_order(address: str, claude: anthropic.Anthropic) -> None:
    sent = events(address)
    assert [each["type"] for each in sent if each["type"] != "content_block_delta"] == [
        "message_start", "content_block_start", "ping", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    start, delta = sent[0]["message"], sent[-2]
    assert (start["content"], start["stop_reason"], start["usage"]["output_tokens"]) == ([], None, 0)
    whole = ask(claude)
    text = "".join(each["delta"]["text"] for each in sent if each["type"] == "content_block_delta")
    assert text == whole.content[0].text
    assert delta["delta"] == {"stop_reason": whole.stop_reason, "stop_sequence": None}
    assert delta["usage"]["output_tokens"] == whole.usage.output_tokens
    given = start["usage"]
    assert given["input_tokens"] + given["cache_read_input_tokens"] == (
        whole.usage.input_tokens + whole.usage.cache_read_input_tokens
    )
    with claude.messages.stream(model="tiny", messages=ASK, max_tokens=12) as stream:
        assert "".join(stream.text_stream) == text
        assert stream.get_final_message().stop_reason == whole.stop_reason


def test_a_stop_sequence_is_told_and_is_no_part_of_the_text(claude: anthropic.Anthropic) -> None:
    whole = ask(claude, max_tokens=30).content[0].text
    letter = next(c for c in whole[1:] if c.isascii() and c.isprintable() and c != whole[0])
    cut = ask(claude, max_tokens=30, stop_sequences=["never", letter])
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", letter)
    assert cut.content[0].text == whole.partition(letter)[0]


@pytest.mark.parametrize(
    "choice", [{"type": "any", "disable_parallel_tool_use": True}, {"type": "tool", "name": "weather"}], ids=["any", "tool"]
)  # fmt: skip
def test_a_call_that_is_insisted_on_comes(address: str, claude: anthropic.Anthropic, choice: Any) -> None:
    fields = {"tools": [WEATHER, NOW], "tool_choice": choice, "max_tokens": 90}
    message = ask(claude, **fields)
    [call] = message.content
    assert (call.type, message.stop_reason) == ("tool_use", "tool_use")
    assert call.id.startswith("toolu_")
    schemas = {tool["name"]: tool["input_schema"] for tool in (WEATHER, NOW)}
    jsonschema.validate(call.input, schemas[call.name])
    sent = events(address, **fields)
    assert order(sent) == [
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    block = next(each["content_block"] for each in sent if each["type"] == "content_block_start")
    assert (block["type"], block["name"], block["input"]) == ("tool_use", call.name, {})
    deltas = [each["delta"] for each in sent if each["type"] == "content_block_delta"]
    assert {each["type"] for each in deltas} == {"input_json_delta"}
    assert json.loads("".join(each["partial_json"] for each in deltas)) == call.input


def test_a_loop_of_tools(claude: anthropic.Anthropic) -> None:
    message = ask(claude, tools=[WEATHER], tool_choice={"type": "any"}, max_tokens=90)
    call = message.content[0]
    result = {
        "type": "tool_result",
        "tool_use_id": call.id,
        "is_error": True,
        "content": [{"type": "text", "text": "no"}],
    }
    turns = [*ASK, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    assert ask(claude, messages=turns, tools=[WEATHER], tool_choice={"type": "none"}).content
    runner = claude.beta.messages.tool_runner(
        model="tiny", max_tokens=60, messages=ASK, tools=[anthropic.beta_tool(now)], max_iterations=2
    )
    assert list(runner)[-1].stop_reason in ("max_tokens", "end_turn")


def now() -> str:
    """Tell the time."""
    return "12:00"


class Number(pydantic.BaseModel):
    n: int = pydantic.Field(ge=0, le=99)


def test_an_answer_of_a_schema(claude: anthropic.Anthropic) -> None:
    parsed = claude.messages.parse(model="tiny", messages=ASK, max_tokens=60, output_format=Number)
    assert isinstance(parsed.parsed_output, Number)
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "schema": schema}
    for fields in ({"output_config": {"format": form}}, {"output_format": form}):
        jsonschema.validate(json.loads(ask(claude, max_tokens=60, **fields).content[0].text), schema)


def test_an_answer_that_has_begun_goes_on(claude: anthropic.Anthropic, model: edgelm.Model) -> None:
    begun = [*ASK, {"role": "assistant", "content": "The best answer is ("}]
    answer = ask(claude, messages=begun).content[0].text
    longer = ask(
        claude, messages=[*ASK, {"role": "assistant", "content": "The best answer is (" + answer[:4]}]
    )
    assert answer[4:].startswith(longer.content[0].text[:4])


def test_tokens_are_counted_as_messages_count_them(claude: anthropic.Anthropic) -> None:
    fields: dict[str, Any] = {"system": [{"type": "text", "text": "Be brief."}], "tools": [WEATHER]}
    counted = claude.messages.count_tokens(model="tiny", messages=ASK, **fields).input_tokens
    usage = ask(claude, **fields).usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens
    assert counted > claude.messages.count_tokens(model="tiny", messages=ASK).input_tokens


def test_a_prompt_is_computed_ahead(claude: anthropic.Anthropic) -> None:
    turns = [{"role": "user", "content": "Computed ahead of the question. " * 6}]
    ahead = ask(claude, messages=turns, max_tokens=0)
    assert (ahead.content, ahead.stop_reason, ahead.usage.output_tokens) == ([], "max_tokens", 0)
    assert ask(claude, messages=turns).usage.cache_read_input_tokens > 100


def test_what_claude_code_sends(claude: anthropic.Anthropic) -> None:
    message = claude.beta.messages.create(
        model="tiny",
        max_tokens=2000,
        system=[{"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        messages=[
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>Today.</system-reminder>"},
                {"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}},
            ]},
        ],
        tools=[{**WEATHER, "eager_input_streaming": True}, NOW],
        thinking={"type": "enabled", "budget_tokens": 1999},
        metadata={"user_id": "user_1_account__session_2"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        output_config={"effort": "high"},
        betas=["claude-code-20250219", "interleaved-thinking-2025-05-14", "context-management-2025-06-27"],
        extra_body={"temperature": 1, "stop_sequences": ["e", "a", "\n"], "field_of_next_year": 1},
    )  # fmt: skip
    assert message.stop_reason in ("stop_sequence", "end_turn", "max_tokens")
    assert message.context_management is not None
    assert message.context_management.applied_edits == []


PICTURE = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1:1/x.png"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}}
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "now", "input": {}}]}
ANY = {"format": {"type": "json_schema", "schema": {}}}


def said(block: Any) -> list[Any]:
    return [{"role": "user", "content": [block]}]


def gave(**result: Any) -> list[Any]:
    return said({"type": "tool_result", "tool_use_id": "a", **result})


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("max_tokens", {"max_tokens": -1}, "max_tokens"),
    ("thread", {"thread": {"type": "create"}}, "threads"),
    ("temperature", {"temperature": -1}, "temperature"),
    ("no messages", {"messages": []}, "messages"),
    ("role", {"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
    ("url", {"messages": said(PICTURE)}, "messages[0].content[0].type: 'image'"),
    ("pdf", {"messages": said(PDF)}, "source.type: 'base64'"),
    ("picture of a tool", {"messages": [*ASK, CALL, *gave(content=[PICTURE])]}, "messages[2].content[0].content[0].type"),
    ("result of nothing", {"messages": gave(content="1")}, "tool_use_id"),
    ("call without result", {"messages": [*ASK, CALL]}, "tool_result"),
    ("two of a name", {"tools": [NOW, NOW]}, "tools[1].name"),
    ("stop", {"stop_sequences": [""]}, "stop_sequences[0]"),
    ("tier", {"service_tier": "gold"}, "service_tier"),
    ("server tool", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
    ("schema of a tool", {"tools": [{"name": "x", "input_schema": {"type": "array"}}]}, "tools[0].input_schema"),
    ("no tools", {"tool_choice": {"type": "any"}}, "tool_choice"),
    ("unknown tool", {"tools": [NOW], "tool_choice": {"type": "tool", "name": "x"}}, "'x'"),
    ("choice", {"tools": [NOW], "tool_choice": {"type": "maybe"}}, "tool_choice.type"),
    ("thinking", {"thinking": {"type": "enabled", "budget_tokens": 3}}, "thinking.budget_tokens"),
    ("thinking kind", {"thinking": {"type": "loud"}}, "thinking.type"),
    ("form", {"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
    ("schema", {"output_config": {"format": {"type": "json_schema", "schema": {"not": {}}}}}, "not"),
    ("form beside tools", {"tools": [NOW], "output_config": ANY}, "output_config.format"),
    ("container", {"container": "c"}, "container"),
    ("MCP", {"mcp_servers": [{"type": "url", "url": "http://127.0.0.1:1", "name": "m"}]}, "mcp_servers"),
    ("too long", {"messages": [{"role": "user", "content": "x" * 100_001}]}, "prompt is too long: 100"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "name"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_cannot_be_met_is_refused_by_name(
    claude: anthropic.Anthropic, fields: dict[str, Any], name: str
) -> None:
    for stream in (False, True):
        with pytest.raises(anthropic.BadRequestError) as refusal:
            ask(claude, stream=stream, **fields)
        body: Any = refusal.value.body
        assert body["type"] == "error"
        assert body["error"]["type"] == "invalid_request_error"
        assert name in body["error"]["message"]
        assert refusal.value.request_id == body["request_id"]


def test_a_model_that_is_not_served(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="tiny") as refusal:
        ask(claude, model="claude-opus-9")
    assert refusal.value.type == "not_found_error"
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.count_tokens(model="other", messages=ASK)


def test_the_models_that_are_served(claude: anthropic.Anthropic) -> None:
    [listed] = list(claude.models.list(limit=1))
    assert (listed.id, listed.type, listed.max_input_tokens) == ("tiny", "model", 100_000)
    assert claude.models.retrieve("tiny").id == "tiny"
    assert list(claude.models.list(after_id="tiny")) == []
    with pytest.raises(anthropic.NotFoundError):
        claude.models.retrieve("other")
    with pytest.raises(anthropic.BadRequestError, match="limit"):
        claude.models.list(limit=0)


def test_an_error_in_the_middle_is_an_event_and_no_end(
    address: str, claude: anthropic.Anthropic, failing: str
) -> None:
    sent = events(address)
    assert sent[-1]["type"] == "error"
    assert sent[-1]["error"] == {"type": "api_error", "message": failing}
    with pytest.raises(anthropic.APIStatusError, match=failing):
        list(ask(claude, stream=True))
    with pytest.raises(anthropic.InternalServerError, match=failing):
        ask(claude)


@pytest.mark.parametrize(
    ("status", "given", "kind"),
    [
        (429, 429, "rate_limit_error"),
        (503, 529, "overloaded_error"),
        (500, 500, "api_error"),
        (405, 405, "invalid_request_error"),
    ],
)
def test_statuses_are_anthropics(status: int, given: int, kind: str) -> None:
    answer = error_response(RequestError(status, "so", headers={"Retry-After": "2"}))
    assert (answer.status_code, answer.headers["retry-after"]) == (given, "2")
    assert json.loads(bytes(answer.body))["error"] == {"type": kind, "message": "so"}
