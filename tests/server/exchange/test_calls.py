"""Calls that a request insists on: one schema of all tools, whose definitions stay apart, and thinking that stays free."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import openai
import pytest

import edgelm
from edgelm.server.exchange.calls import forced_calls
from edgelm.server.http.errors import RequestError

A: dict[str, Any] = {
    "type": "object",
    "properties": {"x": {"$ref": "#/$defs/n"}},
    "$defs": {"n": {"type": "integer"}},
}
B: dict[str, Any] = {
    "type": "object",
    "properties": {"x": {"$ref": "#/definitions/n"}},
    "definitions": {"n": {"anyOf": [{"type": "null"}, {"$ref": "#/definitions/n"}]}},
}


def test_definitions_of_one_name_stay_apart() -> None:
    schema = forced_calls({"a": A, "b": B}, None, is_one=False).schema
    calls = [{"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": {"x": None}}]
    jsonschema.validate(calls, schema)
    for wrong in ([{"name": "a", "arguments": {"x": None}}], [{"name": "c", "arguments": {}}], [], calls * 5):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(calls, forced_calls({"a": A, "b": B}, None, is_one=True).schema)


@pytest.mark.parametrize(("tools", "name"), [({}, None), ({}, "a"), ({"a": A}, "b")])
def test_what_nobody_can_call_is_refused(tools: dict[str, Any], name: str | None) -> None:
    with pytest.raises(RequestError, match="tool_choice"):
        forced_calls(tools, name, is_one=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, "pick"])
def test_a_model_may_think_before_it_has_to_call(
    client: openai.OpenAI, model: edgelm.Model, name: str | None
) -> None:
    vocabulary = model.tokenizer.get_vocab()
    marks = {str(vocabulary[mark]): 5 for mark in ("<think>", "</think>")}
    digit = {"type": "integer", "minimum": 0, "maximum": 9}
    parameters = {
        "type": "object",
        "properties": {"n": digit},
        "required": ["n"],
        "additionalProperties": False,
    }
    tool: Any = {"type": "function", "function": {"name": "pick", "parameters": parameters}}
    choice: Any = "required" if name is None else {"type": "function", "function": {"name": name}}
    has_thought = False
    for seed in range(4):
        answer = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "x"}], tools=[tool], tool_choice=choice, seed=seed,
            temperature=1.0, max_tokens=400, logit_bias=marks, reasoning_effort="high", parallel_tool_calls=False,
        ).choices[0]  # fmt: skip
        assert answer.finish_reason == "tool_calls"
        [call] = answer.message.tool_calls or ()
        assert call.type == "function"
        jsonschema.validate(json.loads(call.function.arguments), parameters)
        has_thought |= bool(getattr(answer.message, "reasoning_content", None))
    assert has_thought
