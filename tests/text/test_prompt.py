"""Prompts: one BOS, the model's own template, and its refusals as errors with a hint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgelm.errors import PromptError
from edgelm.text.prompt import encode_chat, encode_text

STRICT = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{{ '<end>' + m.role + ': ' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<end>assistant: {% endif %}"
)


@pytest.fixture
def tokenizer(build_tokenizer: Callable[..., Any]) -> Any:
    found = build_tokenizer("byte_level")
    found.chat_template = STRICT
    found.has_chat_template = True
    return found


def test_a_conversation_is_rendered_and_left_open(tokenizer: Any) -> None:
    ids = encode_chat(tokenizer, [{"role": "user", "content": "Hi"}])
    assert tokenizer.decode(ids) == "<end>user: Hi<end>assistant: "


def test_a_refusal_is_the_templates_own_words(tokenizer: Any) -> None:
    with pytest.raises(PromptError, match="System role not supported") as caught:
        encode_chat(tokenizer, [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}])
    assert "first message" in (caught.value.hint or "")


def test_no_template_is_said(build_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(PromptError, match="no chat template"):
        encode_chat(build_tokenizer("byte_level"), [{"role": "user", "content": "Hi"}])


def test_bos_comes_once(build_tokenizer: Callable[..., Any]) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = build_tokenizer("byte_level")
    tokenizer.bos_token = "<end>"
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<end> $A", special_tokens=[("<end>", bos)]
    )
    for text in ("Hi", "<end>Hi"):
        assert encode_text(tokenizer, text).count(bos) == 1


def test_lone_surrogates_are_refused(tokenizer: Any) -> None:
    with pytest.raises(PromptError, match="not valid Unicode"):
        encode_text(tokenizer, "a\udcff")
    with pytest.raises(PromptError, match="not valid Unicode"):
        encode_chat(tokenizer, [{"role": "user", "content": "\udcff"}])
