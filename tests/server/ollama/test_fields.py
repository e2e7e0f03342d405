"""Every field that Ollama's client can send is read, refused by name, or passed over for a reason that is written down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from chat_templates import make_tokenizer
from ollama import _types as types

from edgelm.api import Model
from edgelm.server.http.errors import RequestError
from edgelm.server.ollama.chat_request import OllamaChatRequest
from edgelm.server.ollama.generate_request import OllamaGenerateRequest
from edgelm.server.ollama.options import OPTIONS_PASSED_OVER, OllamaOptions
from edgelm.server.ollama.turns import template_messages


def test_every_field_of_the_client_is_accounted_for() -> None:
    assert set(types.ChatRequest.model_fields) <= set(OllamaChatRequest.model_fields)
    assert set(types.GenerateRequest.model_fields) <= set(OllamaGenerateRequest.model_fields)
    own = set(OllamaOptions.model_fields)
    assert set(types.Options.model_fields) <= own
    assert set(OPTIONS_PASSED_OVER) <= own
    assert set(OPTIONS_PASSED_OVER).isdisjoint(OllamaOptions.unsupported)


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"seed": -1}, {"seed": None}),
        ({"seed": 5, "num_predict": -2}, {"seed": 5, "max_tokens": None}),
        ({"num_predict": 7.0, "stop": "a"}, {"max_tokens": 7, "stop": "a"}),
        ({"repeat_penalty": 1.2, "repeat_last_n": 0}, {"repetition_penalty": 1.0}),
        ({"repeat_last_n": 32, "mirostat": 0, "tfs_z": 1.0, "num_ctx": 9}, {"repetition_window": 32}),
    ],
)
def test_what_options_become(options: dict[str, object], settings: dict[str, object]) -> None:
    assert OllamaOptions.model_validate(options).settings() == settings


@pytest.mark.parametrize(
    ("value", "lets_go"),
    [
        (None, False),
        (0, True),
        ("0", True),
        ("0s", True),
        ("5m", False),
        (-1, False),
        ("1h0m", False),
        ("", False),
    ],
)
def test_a_model_that_is_kept_for_no_time_is_let_go(value: float | str | None, lets_go: bool) -> None:
    assert OllamaChatRequest.model_validate({"model": "m", "keep_alive": value}).lets_go is lets_go


def test_thinking_is_refused_of_a_model_that_cannot() -> None:
    asked = OllamaChatRequest.model_validate({"model": "m", "think": "high"})
    asked.check_thinking(cast(Model, SimpleNamespace(tokenizer=make_tokenizer("chatml"))))
    other = cast(Model, SimpleNamespace(tokenizer=make_tokenizer("llama3")))
    with pytest.raises(RequestError, match='"m" does not support thinking'):
        asked.check_thinking(other)
    asked.model_copy(update={"think": False}).check_thinking(other)


def test_calls_get_ids_and_results_those_of_their_calls() -> None:
    def call(name: str) -> dict[str, object]:
        return {"function": {"name": name, "arguments": {}}}

    read = template_messages(
        [
            {"role": "assistant", "tool_calls": [call("a"), call("b"), call("a")]},
            {"role": "tool", "tool_name": "b", "content": "1"},
            {"role": "tool", "content": "2"},
            {"role": "tool", "tool_name": "a", "content": "3"},
            {"role": "tool", "tool_call_id": "other", "content": "4"},
        ]
    )
    assert [made["id"] for made in read[0]["tool_calls"]] == ["000000000", "000000001", "000000002"]
    assert [(each["tool_call_id"], each.get("name")) for each in read[1:]] == [
        ("000000001", "b"), ("000000000", "a"), ("000000002", "a"), ("other", None),
    ]  # fmt: skip
