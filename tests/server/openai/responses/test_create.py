"""OpenAI's own client over responses: answers, streams, forms, calls and what came before, and every refusal by name."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import jsonschema
import openai
import pydantic
import pytest
from openai.types.responses import Response, ResponseStreamEvent

import edgelm
from edgelm.runtime.events import Finished, Text, ToolCall, Usage
from edgelm.server.openai.responses.prompt import ItemHistory
from edgelm.server.openai.responses.response_request import ResponseRequest
from edgelm.server.openai.responses.thoughts import unwrap
from edgelm.server.openai.responses.toolbox import Toolbox

pytestmark = pytest.mark.slow

EVENT: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ResponseStreamEvent)
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Tell the weather.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["days"],
        "additionalProperties": False,
    },
}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}
PATCH: Any = {"type": "custom", "name": "patch", "format": GRAMMAR}
GIT: Any = {
    "type": "namespace",
    "name": "git",
    "description": "",
    "tools": [{"type": "function", "name": "log"}],
}
SEARCH: Any = {"type": "web_search", "external_web_access": False}


def create(client: openai.OpenAI, **fields: Any) -> Any:
    return client.responses.create(
        **{"model": "tiny", "input": "Why is the sky blue?", "max_output_tokens": 12, **fields}
    )


def scripted(monkeypatch: pytest.MonkeyPatch, *events: Any, reason: Any = "stop") -> None:
    """What the model says, in place of what the tiny one would."""
    usage = Usage(7, 2, 5, 0.1, 0.1, 0.1, 0, thinking_tokens=3)

    async def areplies(self: edgelm.Model, work: Any) -> Any:
        for event in (*events, Finished(reason, usage)):
            yield 0, event

    monkeypatch.setattr(edgelm.Model, "areplies", areplies)


def streamed(client: openai.OpenAI, **fields: Any) -> list[Any]:
    """The events of a stream, each of the documented form and numbered from 0."""
    events = list(create(client, stream=True, **fields))
    for number, event in enumerate(events):
        EVENT.validate_python(event.model_dump(mode="json", exclude_unset=True))
        assert event.sequence_number == number
    return events


def test_an_answer_is_the_models_own(client: openai.OpenAI, model: edgelm.Model) -> None:
    answer = create(client, temperature=0.8, extra_body={"seed": 7})
    expected = model.chat().send("Why is the sky blue?", temperature=0.8, seed=7, max_tokens=12)
    Response.model_validate(answer.model_dump())
    assert answer.output_text == expected.text
    assert answer.status == {"stop": "completed", "length": "incomplete"}[expected.reason]
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (
        expected.usage.prompt_tokens,
        expected.usage.completion_tokens,
    )
    assert (answer.model, answer.temperature, answer.store) == ("tiny", 0.8, True)


def test_a_stream_is_the_answer_in_pieces_in_the_documented_order(client: openai.OpenAI) -> None:
    events = streamed(client, temperature=0.8, extra_body={"seed": 7})
    kinds = [event.type for event in events]
    texts = kinds.count("response.output_text.delta")
    assert kinds == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        *["response.output_text.delta"] * texts, "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.incomplete",
    ]  # fmt: skip
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert (
        text
        == events[-1].response.output_text
        == create(client, temperature=0.8, extra_body={"seed": 7}).output_text
    )
    assert {event.output_index for event in events[2:-1]} == {0}
    assert len({event.item_id for event in events[3:-2]}) == 1


def test_thinking_and_calls_are_items_of_their_own(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = '{"name": "weather", "arguments": {"days": 2}}'
    scripted(
        monkeypatch, Text("Let me ", "thinking"), Text("see.", "thinking"), Text("I look."), Text(call, "tool_call"),
        ToolCall("weather", {"days": 2}, call), ToolCall("git__log", {}, ""), ToolCall("patch", {"input": "x"}, ""),
    )  # fmt: skip
    fields: Any = {"tools": [WEATHER, GIT, PATCH], "include": ["reasoning.encrypted_content"]}
    events = streamed(client, **fields)
    part = ["response.content_part.added", "response.content_part.done"]
    assert [event.type for event in events] == [
        "response.created", "response.in_progress",
        "response.output_item.added", part[0], *["response.reasoning_text.delta"] * 2, "response.reasoning_text.done",
        part[1], "response.output_item.done",
        "response.output_item.added", part[0], "response.output_text.delta", "response.output_text.done",
        part[1], "response.output_item.done",
        *["response.output_item.added", "response.function_call_arguments.delta",
          "response.function_call_arguments.done", "response.output_item.done"] * 2,
        "response.output_item.added", "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done", "response.output_item.done",
        "response.completed",
    ]  # fmt: skip
    thought, said, weather, log, patch = events[-1].response.output
    assert thought.content[0].text == "Let me see."
    assert unwrap(thought.encrypted_content, "") == "Let me see."
    assert said.content[0].text == "I look."
    assert json.loads(weather.arguments) == {"days": 2}
    assert (log.type, log.namespace, log.name) == ("function_call", "git", "log")
    assert (patch.type, patch.name, patch.input) == ("custom_tool_call", "patch", "x")
    assert events[-1].response.usage.output_tokens_details.reasoning_tokens == 3
    assert [item.id for item in events[-1].response.output] == [
        event.item.id for event in events if event.type == "response.output_item.done"
    ]
    whole = create(client, **fields)
    assert [item.type for item in whole.output] == [item.type for item in events[-1].response.output]


def test_thinking_is_its_own_summary_where_one_is_asked_for(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, Text("Hm.", "thinking"), reason="length")
    events = streamed(client, reasoning={"effort": "low", "summary": "auto"})
    assert [event.type for event in events[2:]] == [
        "response.output_item.added", "response.reasoning_summary_part.added", "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done", "response.reasoning_summary_part.done", "response.output_item.done",
        "response.incomplete",
    ]  # fmt: skip
    assert events[-1].response.output[0].summary[0].text == "Hm."
    assert events[-1].response.output[0].status == "incomplete"


def test_an_error_on_the_way_is_told_as_a_failed_response(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(self: edgelm.Model, work: Any) -> Any:
        yield 0, Text("So")
        raise edgelm.EngineError("the GPU has gone")

    monkeypatch.setattr(edgelm.Model, "areplies", failing)
    last = streamed(client)[-1]
    assert (last.type, last.response.status, last.response.error.message) == (
        "response.failed",
        "failed",
        "the GPU has gone",
    )
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(last.response.id)
    with pytest.raises(openai.InternalServerError, match="the GPU has gone"):
        create(client)


def test_a_conversation_goes_on_from_what_is_kept(client: openai.OpenAI, model: edgelm.Model) -> None:
    first = create(client, input="One?", instructions="Be brief.")
    second = create(client, input="Two?", previous_response_id=first.id)
    said = {"role": "assistant", "content": first.output_text}
    chat = model.chat(messages=[{"role": "user", "content": "One?"}, said])
    assert second.output_text == chat.send("Two?", max_tokens=12).text
    assert client.responses.retrieve(second.id).output_text == second.output_text
    items = client.responses.input_items.list(second.id, order="asc").data
    assert [item.role for item in items] == ["user", "assistant", "user"]
    [latest] = client.responses.input_items.list(second.id, limit=1).data
    assert latest.id == items[-1].id
    assert [item.id for item in client.responses.input_items.list(second.id, limit=1)] == [
        item.id for item in reversed(items)
    ]
    client.responses.delete(first.id)
    for gone in (first.id, "resp_none"):
        with pytest.raises(openai.NotFoundError) as refusal:
            create(client, previous_response_id=gone)
        assert refusal.value.param == "previous_response_id"
        with pytest.raises(openai.NotFoundError):
            client.responses.delete(gone)
    assert create(client, input="Three?", previous_response_id=second.id).output_text


def test_what_is_not_to_be_kept_is_not(client: openai.OpenAI) -> None:
    for stream in (False, True):
        answer = create(client, store=False, stream=stream)
        answer = list(answer)[-1].response if stream else answer
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(answer.id)


def test_a_client_that_keeps_everything_itself_gives_it_back(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Codex does: nothing is stored, thinking is carried, items come back as they went."""
    scripted(monkeypatch, Text("Hm.", "thinking"), ToolCall("weather", {"days": 2}, ""))
    asked: list[Any] = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Use tools."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
    ]
    fields: Any = {
        "instructions": "You are an agent.", "tools": [WEATHER, PATCH, SEARCH], "tool_choice": "auto",
        "parallel_tool_calls": False, "reasoning": {"effort": "medium", "summary": "auto"}, "store": False,
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "session", "text": {"verbosity": "low"},
        "extra_body": {"client_metadata": {"x": "y"}},
    }  # fmt: skip
    last = streamed(client, input=asked, **fields)[-1].response
    assert [tool.type for tool in last.tools] == ["function", "custom"]
    thought, call = (item.model_dump(exclude_none=True) for item in last.output)
    thought.pop("summary")
    monkeypatch.undo()
    rain = [{"type": "input_text", "text": "rain"}]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": rain}
    again = [*asked, {"summary": [], **thought}, call, result]
    assert create(client, input=again, **fields).output
    counted = client.responses.input_tokens.count(model="tiny", input=again, tools=[WEATHER, PATCH])
    assert counted.input_tokens > 100


def test_the_answer_has_the_form_that_was_asked_for(client: openai.OpenAI) -> None:
    class Number(pydantic.BaseModel):
        n: int = pydantic.Field(ge=0, le=99)

    parsed = client.responses.parse(model="tiny", input="A number.", text_format=Number, max_output_tokens=60)
    assert isinstance(parsed.output_parsed, Number)
    loose = create(client, text={"format": {"type": "json_object"}}, max_output_tokens=60)
    assert loose.output_text.startswith("{")


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"weather", "log"}),
        ({"type": "function", "name": "weather"}, {"weather"}),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}, {"weather"}),
        ({"type": "function", "name": "log", "namespace": "git"}, {"log"}),
    ],
    ids=["required", "named", "allowed", "in a namespace"],
)  # fmt: skip
def test_a_call_that_is_insisted_on_comes(client: openai.OpenAI, choice: Any, names: set[str]) -> None:
    fields: Any = {"tools": [WEATHER, GIT], "parallel_tool_calls": False, "max_output_tokens": 90}
    [call] = create(client, tool_choice=choice, **fields).output
    assert call.name in names
    if call.name == "weather":
        jsonschema.validate(json.loads(call.arguments), WEATHER["parameters"])


def test_log_probabilities_of_every_token(client: openai.OpenAI) -> None:
    fields: Any = {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "max_output_tokens": 5}
    [part] = create(client, **fields).output[0].content
    assert len(part.logprobs) == 5
    assert all(len(token.top_logprobs) == 2 for token in part.logprobs)
    deltas = [event for event in streamed(client, **fields) if event.type == "response.output_text.delta"]
    assert [token.token for event in deltas for token in event.logprobs] == [t.token for t in part.logprobs]


def test_a_conversation_that_is_too_long_is_cut_where_it_may(
    model: edgelm.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "context_length", 400)
    items = [
        {"role": role, "content": f"{number} {'x' * 40}"}
        for number in range(8)
        for role in ("user", "assistant")
    ]
    conversation = ItemHistory(items[:4], [*items[4:], {"role": "user", "content": "last"}])

    def prompt(**fields: Any) -> str:
        request = ResponseRequest(instructions="Stay.", **fields)
        task = conversation.task(request, Toolbox(), lambda _: None, model)
        return str(model.tokenizer.decode(list(task.ids)))

    cut = prompt(truncation="auto", max_output_tokens=50)
    assert "Stay." in cut
    assert "last" in cut
    assert 200 < len(model.tokenizer.encode(cut)) <= 350
    assert not any(f"{number} xxx" in cut for number in range(4))
    assert cut.index("7 xxx") < cut.index("last")
    assert "0 xxx" in prompt()  # and is refused as it is
    monkeypatch.setattr(model, "context_length", 20)
    assert "7 xxx" not in prompt(truncation="auto")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"input": []}, "input"), ({"input": openai.omit}, "input"),
    ({"tools": [{"type": "web_search"}]}, "web_search"), ({"tools": [{"type": "mcp", "server_label": "x"}]}, "mcp"),
    ({"tools": [{"type": "file_search", "vector_store_ids": []}]}, "file_search"),
    ({"tools": [{"type": "teleport"}]}, "teleport"), ({"tools": [WEATHER, WEATHER]}, "weather"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
    ({"background": True}, "background"), ({"conversation": "conv_1"}, "conversation"), ({"prompt": {"id": "p"}}, "prompt"),
    ({"moderation": {"model": "m"}}, "moderation"), ({"include": ["everything"]}, "include"),
    ({"max_output_tokens": 0}, "max_output_tokens"), ({"temperature": -1}, "temperature"),
    ({"truncation": "some"}, "truncation"),
    ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"not": {}}}}}, "schema"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format"),
    ({"metadata": {"a": 1}}, "metadata.a"), ({"reasoning": {"effort": "heroic"}}, "reasoning.effort"),
    ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x/"}]}]}, "input[0].content[0]"),
    ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0].type"),
    ({"input": [{"type": "item_reference", "id": "msg_0"}]}, "input[0].id"),
    ({"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{"}]}, "arguments"),
    ({"input": [{"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "gAAA"}]}, "input[0].encrypted_content"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "name"), REFUSED, ids=[str(index) for index in range(len(REFUSED))])
def test_what_cannot_be_met_is_refused_by_name(
    client: openai.OpenAI, fields: dict[str, Any], name: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        create(client, **fields)
    assert name in f"{refusal.value.param} {refusal.value.message}"


def test_what_is_kept_is_asked_for_rightly(address: str, client: openai.OpenAI) -> None:
    kept = f"{address}/v1/responses/{create(client).id}"
    for query in ("order=up", "limit=0", "limit=x", "after=msg_0"):
        answer = httpx2.get(f"{kept}/input_items?{query}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, query.partition("=")[0])
    assert httpx2.get(f"{kept}?stream=true").status_code == 400
