"""How much a model is to think: told to a template that asks for it, in the words that it knows, by every API."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgelm.api import Model
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.server.anthropic.message_request import MessageRequest
from edgelm.server.ollama.chat_request import OllamaChatRequest
from edgelm.server.openai.chat_request import ChatRequest
from tests.support.family_tokenizers import build_family

TEMPLATE = "{%- if reasoning_effort is not defined %}{%- set reasoning_effort = 'medium' %}{%- endif -%}"
TEMPLATE += "Reasoning: {{ reasoning_effort }}\n{% for m in messages %}{{ m['content'] }}{% endfor %}<think>"
ASKED: Any = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


def model(template: str) -> Model:
    made = SimpleNamespace(
        tokenizer=build_family(("<think>", "</think>"), template),
        defaults=GenerationOptions(),
        context_length=1000,
    )
    return cast(Model, made)


def prompt(asked: Any, template: str = TEMPLATE) -> str:
    asking = model(template)
    return str(asking.tokenizer.decode(asked.asked(asking).ids))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("minimal", "low"),
        ("low", "low"),
        ("medium", "medium"),
        ("high", "high"),
        ("xhigh", "high"),
        (None, "medium"),
    ],
)
def test_openai(said: str | None, told: str) -> None:
    assert prompt(ChatRequest(**ASKED, reasoning_effort=said)).startswith(f"Reasoning: {told}\n")


@pytest.mark.parametrize(
    "asked",
    [
        lambda: MessageRequest(**ASKED, max_tokens=9, output_config={"effort": "max"}),
        lambda: OllamaChatRequest(**ASKED, think="high"),
    ],
    ids=["anthropic", "ollama"],
)
def test_the_others(asked: Callable[[], Any]) -> None:
    assert prompt(asked()).startswith("Reasoning: high\n")


def test_a_template_that_does_not_ask_is_not_told() -> None:
    plain = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    assert prompt(ChatRequest(**ASKED, reasoning_effort="high"), plain) == "x"
