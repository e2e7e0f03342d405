"""Every field that Anthropic's client can send is read, refused by name, or passed over for a reason that is written down."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from anthropic.types import MessageCountTokensParams, message_create_params
from anthropic.types.beta import message_count_tokens_params as beta_count
from anthropic.types.beta import message_create_params as beta_create

from edgelm.runtime.generation.options import GenerationOptions
from edgelm.server.anthropic.message_request import PASSED_OVER, CountRequest, MessageRequest

HEADERS = {"betas"}
"""Fields of the client that are no fields of the request."""
OLDER = {"temperature", "top_p", "top_k", "output_format"}
"""Fields that clients sent before, and agents still do."""


@pytest.mark.parametrize(
    ("params", "body"),
    [
        (message_create_params.MessageCreateParamsStreaming, MessageRequest),
        (beta_create.MessageCreateParamsStreaming, MessageRequest),
        (MessageCountTokensParams, CountRequest),
        (beta_count.MessageCountTokensParams, CountRequest),
    ],
    ids=["messages", "beta messages", "count", "beta count"],
)
def test_every_field_of_the_client_is_accounted_for(params: Any, body: Any) -> None:
    sent = set(typing.get_type_hints(params)) - HEADERS
    read = set(body.model_fields)
    assert sent - read == set()
    assert set(body.unsupported) <= read
    assert {"messages", "max_tokens", *OLDER} <= set(MessageRequest.model_fields)


def test_what_is_passed_over_is_a_field_that_nothing_else_reads() -> None:
    assert set(PASSED_OVER) <= set(MessageRequest.model_fields)
    assert set(PASSED_OVER).isdisjoint(MessageRequest.unsupported)
    assert all(PASSED_OVER.values())


def test_a_budget_of_thinking_bounds_it() -> None:
    asked: Any = {"model": "m", "max_tokens": 3000, "messages": [{"role": "user", "content": "x"}]}
    bounded = MessageRequest(**asked, thinking={"type": "enabled", "budget_tokens": 1024})
    assert bounded.options(GenerationOptions()).thinking_budget == 1024
    for thinking in (None, {"type": "adaptive"}, {"type": "disabled"}):
        assert MessageRequest(**asked, thinking=thinking).options(GenerationOptions()).thinking_budget is None
