"""Every field that OpenAI's client can send is read, refused by name, or passed over for a reason that is written down."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from openai.types import completion_create_params
from openai.types.chat import ChatCompletionStreamOptionsParam
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import ResponseTextConfigParam, input_token_count_params, response_create_params
from openai.types.shared_params import Reasoning

from edgelm.server.openai.chat_request import ChatRequest
from edgelm.server.openai.completion_request import CompletionRequest
from edgelm.server.openai.fields import StreamOptions
from edgelm.server.openai.responses.response_request import ReasoningOptions, ResponseRequest, TextOptions


@pytest.mark.parametrize(
    ("params", "body"),
    [
        (chat_create_params.CompletionCreateParamsStreaming, ChatRequest),
        (completion_create_params.CompletionCreateParamsStreaming, CompletionRequest),
        (response_create_params.ResponseCreateParamsStreaming, ResponseRequest),
        (input_token_count_params.InputTokenCountParams, ResponseRequest),
    ],
    ids=["chat", "completions", "responses", "input tokens"],
)
def test_every_field_of_the_client_is_accounted_for(params: Any, body: Any) -> None:
    sent, read = set(typing.get_type_hints(params)), set(body.model_fields)
    assert sent - read - set(body.tolerated) == set()
    assert set(body.unsupported) <= read
    assert not set(body.tolerated) & read
    assert all(body.tolerated.values())


@pytest.mark.parametrize(
    ("params", "part", "passed_over"),
    [
        # What these ask for is how OpenAI's own machines go about it.
        (Reasoning, ReasoningOptions, {"context", "mode"}),
        (ResponseTextConfigParam, TextOptions, set()),
        (ChatCompletionStreamOptionsParam, StreamOptions, {"include_obfuscation"}),
    ],
    ids=["reasoning", "text", "stream options"],
)
def test_so_is_every_field_inside(params: Any, part: Any, passed_over: set[str]) -> None:
    assert set(typing.get_type_hints(params)) - set(part.model_fields) == passed_over
