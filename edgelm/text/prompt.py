"""Messages or plain text to token ids, through the model's own chat template and tokenizer.

Knows nothing about what the model does with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgelm.errors import PromptError, UnsupportedError

Message = Mapping[str, Any]


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of plain text, with the tokenizer's own BOS, never two of it.

    Raises:
        PromptError: text that is not valid Unicode.
    """
    _check_unicode(text)
    bos = tokenizer.bos_token
    doubled = bos is not None and text.startswith(bos)
    return list(tokenizer.encode(text, add_special_tokens=not doubled))


def encode_chat(
    tokenizer: Any,
    messages: Sequence[Message],
    *,
    enable_thinking: bool | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> list[int]:
    """Token ids of a conversation, rendered in full and open for the assistant's reply.

    Args:
        tokenizer: mlx-lm's TokenizerWrapper.
        messages: `{"role": ..., "content": ...}` each; further keys are the template's to use.
        enable_thinking: passed to the template when not None; else the tokenizer's own default.
        tools: JSON schemas of callable functions, passed to the template.

    Raises:
        PromptError: no chat template, or the template refuses the messages.
    """
    if not tokenizer.has_chat_template:
        raise PromptError(
            "this model has no chat template", hint="it is a base model: give it plain text to continue"
        )
    for message in messages:
        _check_unicode(message.get("content") or "")
    given: dict[str, Any] = {} if enable_thinking is None else {"enable_thinking": enable_thinking}
    if tools:
        given["tools"] = [dict(tool) for tool in tools]
    return _render(tokenizer, [dict(message) for message in messages], given)


def require_tool_support(tokenizer: Any) -> None:
    """Refuse tools that the model would never see, or whose calls could not be read.

    Raises:
        UnsupportedError: the chat template leaves tools out, or no parser knows its calls.
    """
    probe = {"name": "probe", "description": "", "parameters": {"type": "object", "properties": {}}}
    messages = [{"role": "user", "content": "x"}]
    plain = encode_chat(tokenizer, messages)
    if encode_chat(tokenizer, messages, tools=[{"type": "function", "function": probe}]) == plain:
        raise UnsupportedError(
            "the model's chat template does not know tools",
            hint="use a model that was made to call functions",
        )
    if not tokenizer.has_tool_calling:
        raise UnsupportedError("no parser knows how this model writes its function calls")


def _render(tokenizer: Any, messages: list[dict[str, Any]], given: dict[str, Any]) -> list[int]:
    from jinja2 import TemplateError

    try:
        return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, **given))
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        # What a template or a Python renderer raises on messages that it does not take.
        raise PromptError(
            f"the model's chat template refuses these messages: {error}",
            hint=_template_hint(str(error), messages),
        ) from error


def _template_hint(reason: str, messages: list[dict[str, Any]]) -> str | None:
    if "system" in reason.lower() and any(message["role"] == "system" for message in messages):
        return "this model takes no system prompt: put it into the first message"
    return None


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(f"character {error.start} of the prompt is not valid Unicode") from None
