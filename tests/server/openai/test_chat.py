"""OpenAI's own client: answers, streams, forms and calls are those of the model without a server, or refused by name."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import openai
import pytest

import edgelm

pytestmark = pytest.mark.slow

ASK: list[Any] = [{"role": "user", "content": "Why is the sky blue?"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {"days": {"$ref": "#/$defs/days"}},
            "required": ["days"],
            "additionalProperties": False,
            "$defs": {"days": {"type": "integer", "minimum": 1, "maximum": 9}},
        },
    },
}
OTHER: Any = {"type": "function", "function": {"name": "now"}}


def chat(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": "tiny", "messages": ASK, "max_tokens": 12, **fields})


def test_an_answer_is_the_models_own(client: openai.OpenAI, model: edgelm.Model) -> None:
    answer = chat(client, temperature=0.8, seed=7)
    expected = model.chat().send(ASK[0]["content"], temperature=0.8, seed=7, max_tokens=12)
    choice = answer.choices[0]
    assert choice.message.content == expected.text
    assert choice.message.role == "assistant"
    assert choice.finish_reason == {"stop": "stop", "length": "length"}[expected.reason]
    assert answer.usage.prompt_tokens == expected.usage.prompt_tokens
    assert answer.usage.completion_tokens == expected.usage.completion_tokens
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert (answer.object, answer.model) == ("chat.completion", "tiny")


def test_a_prompt_that_was_computed_is_counted_as_cached(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "A long question. " * 8}]
    chat(client, messages=messages)
    again = chat(client, messages=messages)
    assert again.usage.prompt_tokens_details.cached_tokens > again.usage.prompt_tokens // 2


def test_a_stream_is_the_answer_in_pieces_in_the_documented_order(client: openai.OpenAI) -> None:
    whole = chat(client, temperature=0.8, seed=7)
    chunks = list(chat(client, temperature=0.8, seed=7, stream=True, stream_options={"include_usage": True}))
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    deltas = [chunk.choices[0] for chunk in chunks[:-1]]
    assert "".join(each.delta.content or "" for each in deltas) == whole.choices[0].message.content
    assert [each.finish_reason for each in deltas] == [None] * (len(deltas) - 1) + [
        whole.choices[0].finish_reason
    ]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_several_choices_differ_and_are_each_that_of_its_seed(client: openai.OpenAI) -> None:
    answer = chat(client, n=3, temperature=1.0, seed=20)
    texts = [choice.message.content for choice in answer.choices]
    alone = [chat(client, temperature=1.0, seed=20 + i).choices[0].message.content for i in range(3)]
    assert texts == alone
    assert len(set(texts)) == 3
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    streamed = ["", "", ""]
    for chunk in chat(client, n=3, temperature=1.0, seed=20, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts


def test_a_stop_string_ends_the_answer_and_is_no_part_of_it(client: openai.OpenAI) -> None:
    whole = chat(client, temperature=1.0, seed=3, max_tokens=30).choices[0].message.content
    letter = next(c for c in whole[1:] if c.isascii() and c.isprintable())
    cut = chat(client, temperature=1.0, seed=3, max_tokens=30, stop=[letter, "never"]).choices[0]
    assert cut.message.content == whole.partition(letter)[0]
    assert cut.finish_reason == "stop"


def test_log_probabilities_of_every_token(client: openai.OpenAI) -> None:
    choice = chat(client, logprobs=True, top_logprobs=3, max_tokens=5).choices[0]
    assert len(choice.logprobs.content) == 5
    for token in choice.logprobs.content:
        assert len(token.top_logprobs) == 3
        assert token.logprob == token.top_logprobs[0].logprob <= 0  # greedy takes the first
        assert bytes(token.bytes).decode() == token.token
    pieces = [
        token.token
        for chunk in chat(client, logprobs=True, max_tokens=5, stream=True)
        for each in chunk.choices
        if each.logprobs
        for token in each.logprobs.content
    ]
    assert pieces == [token.token for token in choice.logprobs.content]


def test_a_bias_and_penalties_are_heard(client: openai.OpenAI, model: edgelm.Model) -> None:
    [letter] = model.tokenizer.encode("Q", add_special_tokens=False)
    assert chat(client, logit_bias={str(letter): 100}, max_tokens=4).choices[0].message.content == "QQQQ"
    plain = chat(client, max_tokens=24).choices[0].message.content
    assert (
        chat(client, max_tokens=24, frequency_penalty=2, presence_penalty=2).choices[0].message.content
        != plain
    )


def test_an_answer_of_a_schema(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99, "minimum": 0}}, "required": ["n"],
              "additionalProperties": False}  # fmt: skip
    form: Any = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema, "strict": True}}
    jsonschema.validate(
        json.loads(chat(client, response_format=form, max_tokens=60).choices[0].message.content), schema
    )
    bias = {"125": 100}  # "}": an object may be long
    loose = chat(client, response_format={"type": "json_object"}, max_tokens=60, logit_bias=bias)
    assert loose.choices[0].message.content.startswith("{")


@pytest.mark.parametrize(
    ("choice", "names"),
    [("required", {"weather", "now"}), ({"type": "function", "function": {"name": "weather"}}, {"weather"})],
    ids=["required", "named"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_is_insisted_on_comes(
    client: openai.OpenAI, choice: Any, names: set[str], stream: bool
) -> None:
    fields = {"tools": [TOOL, OTHER], "tool_choice": choice, "parallel_tool_calls": False, "max_tokens": 90}
    if stream:
        deltas = [each for chunk in chat(client, stream=True, **fields) for each in chunk.choices]
        [call] = [call for each in deltas for call in each.delta.tool_calls or ()]
        assert deltas[-1].finish_reason == "tool_calls"
    else:
        answer = chat(client, **fields).choices[0]
        [call] = answer.message.tool_calls
        assert answer.message.content is None
        assert answer.finish_reason == "tool_calls"
    assert call.function.name in names
    arguments = json.loads(call.function.arguments)
    if call.function.name == "weather":
        jsonschema.validate(arguments, TOOL["function"]["parameters"])
    assert len(call.id) == 9


def test_results_of_calls_come_back(client: openai.OpenAI) -> None:
    call = {
        "id": "abcdefghi",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"days": 2}'},
    }
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, *ASK,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abcdefghi", "content": "rain"},
    ]  # fmt: skip
    assert chat(client, messages=messages, tools=[TOOL], tool_choice="auto").choices[0].message.content


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("temperature", {"temperature": -1}, "temperature"),
    ("top_p", {"top_p": 1.5}, "top_p"),
    ("n", {"n": 0}, "n"),
    ("n of text", {"n": "2"}, "n"),
    ("top_logprobs", {"top_logprobs": 3}, "top_logprobs"),
    ("bias", {"logit_bias": {"a": 1}}, "logit_bias"),
    ("bias beyond", {"logit_bias": {"99999": 1}}, "99999"),
    ("max_tokens", {"max_tokens": 0}, "max_tokens"),
    ("form", {"response_format": {"type": "xml"}}, "response_format"),
    ("schema", {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"not": {}}}}}, "schema"),
    ("no schema", {"response_format": {"type": "json_schema"}}, "json_schema"),
    ("tool kind", {"tools": [{"type": "web_search"}]}, "tools"),
    ("tool choice", {"tool_choice": "required"}, "tool_choice"),
    ("unknown function", {"tools": [OTHER], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
    ("form beside tools", {"tools": [OTHER], "response_format": {"type": "json_object"}}, "response_format"),
    ("old functions", {"extra_body": {"functions": [{"name": "f"}]}}, "functions"),
    ("audio", {"modalities": ["audio"]}, "modalities"),
    ("no messages", {"messages": []}, "messages"),
    ("role", {"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
    ("picture", {"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}]}]}, "image_url"),
    ("too long", {"messages": [{"role": "user", "content": "x" * 100_001}]}, "100"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "name"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_cannot_be_met_is_refused_by_name(
    client: openai.OpenAI, fields: dict[str, Any], name: str
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refusal:
            chat(client, stream=stream, **fields)
        assert name in f"{refusal.value.param} {refusal.value.message}"
        assert refusal.value.body["type"] == "invalid_request_error"  # type: ignore[index]


def test_fields_of_newer_clients_are_passed_over(client: openai.OpenAI) -> None:
    assert chat(client, user="me", store=False, extra_body={"field_of_next_year": 1}).choices


def test_a_model_that_is_not_served(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="tiny"):
        chat(client, model="/etc/passwd")
    assert [each.id for each in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_embeddings_are_refused_in_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no embeddings"):
        client.embeddings.create(model="tiny", input="x")
