"""Messages or plain text to token ids, through the model's own chat template and tokenizer.

Knows nothing about what the model does with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgelm.errors import PromptError, UnsupportedError
from edgelm.messages.content import REASONING_NAMES
from edgelm.messages.reader import read_turns
from edgelm.text.control_tokens import encode_guarded, guard, guard_messages
from edgelm.text.families import harmony
from edgelm.text.families.family import Family, family_of, template_text
from edgelm.text.families.markers import State
from edgelm.text.families.opening import opening

Message = Mapping[str, Any]

_EFFORT = "reasoning_effort"
"""What templates call how much the model is to think."""


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of plain text, with the tokenizer's own BOS, never two of it.

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
    effort: str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> list[int]:
    """Return the token ids of a conversation, rendered in full and open for the assistant's reply.

    Args:
        tokenizer: mlx-lm's TokenizerWrapper.
        messages: `{"role": ..., "content": ...}` each, in any form that `edgelm.messages.reader` reads;
            further keys are the template's to use.
        enable_thinking: passed to the template when not None; else the tokenizer's own default.
        effort: how much to think, "low", "medium" or "high"; told to a template that asks for it, as gpt-oss's does.
        tools: JSON schemas of callable functions, passed to the template.

    Raises:
        PromptError: no chat template, or the template refuses the messages.
        MessageError: a message that is none.
    """
    text = render_chat(
        tokenizer, messages, is_open=True, enable_thinking=enable_thinking, effort=effort, tools=tools
    )
    return encode_rendered(tokenizer, text)


def encode_begun(
    tokenizer: Any,
    messages: Sequence[Message],
    begun: str,
    *,
    thinking: str = "",
    enable_thinking: bool | None = None,
    effort: str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> list[int]:
    """Return the token ids of a conversation and the first words of its next answer, which is left open to go on.

    Args:
        begun: what of the answer is there.
        thinking: what was thought before it.

    For the others, and for what is raised, see `encode_chat`.
    """
    ids = encode_chat(tokenizer, messages, enable_thinking=enable_thinking, effort=effort, tools=tools)
    before = _before_answer(family_of(tokenizer), opening(tokenizer, ids).state, thinking.strip())
    return ids + list(tokenizer.encode(before + begun, add_special_tokens=False))


def _before_answer(family: Family, state: State, thinking: str) -> str:
    """What stands between a prompt that leaves off in `state` and the answer."""
    if state == "header":
        ended = f"{harmony.THINKS}{thinking}{harmony.END}{harmony.TURNS}"
        return ended if thinking else harmony.ANSWERS
    if family.thinking is None:
        return ""
    start, end = family.thinking
    if state == "thinking":
        return f"{thinking}\n{end}\n\n"
    return f"{start}\n{thinking}\n{end}\n\n" if thinking else ""


def render_chat(
    tokenizer: Any,
    messages: Sequence[Message],
    *,
    is_open: bool,
    enable_thinking: bool | None = None,
    effort: str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """Return the text of a conversation as the template writes it; `encode_rendered` makes ids of it.

    Control tokens that messages or tools spell stand between marks (`edgelm.text.control_tokens`).

    Args:
        is_open: end with what invites the assistant's reply; else with the last message.

    For the others, and for what is raised, see `encode_chat`.
    """
    given = _settings(enable_thinking, guard(tools, tokenizer) if tools else None)
    if effort is not None and _EFFORT in template_text(tokenizer):
        given[_EFFORT] = effort
    return str(_apply(tokenizer, messages, {**given, "add_generation_prompt": is_open, "tokenize": False}))


def encode_rendered(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of what `render_chat` wrote, which brings its own special tokens."""
    return encode_guarded(tokenizer, text)


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
    if not family_of(tokenizer).can_call:
        raise UnsupportedError("no parser knows how this model writes its function calls")


def _settings(enable_thinking: bool | None, tools: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    given: dict[str, Any] = {} if enable_thinking is None else {"enable_thinking": enable_thinking}
    if tools:
        given["tools"] = [dict(tool) for tool in tools]
    return given


def _apply(tokenizer: Any, messages: Sequence[Message], given: dict[str, Any]) -> Any:
    from jinja2 import TemplateError

    if not tokenizer.has_chat_template:
        raise PromptError(
            "this model has no chat template", hint="it is a base model: give it plain text to continue"
        )
    for message in messages:
        _check_unicode(message.get("content"))
    family = family_of(tokenizer)
    shown = [
        _as_family_writes(message, family) for message in guard_messages(read_turns(messages), tokenizer)
    ]
    try:
        return tokenizer.apply_chat_template(shown, **given)
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        # What a template or a Python renderer raises on messages that it does not take.
        raise PromptError(
            f"the model's chat template refuses these messages: {error}",
            hint=_template_hint(str(error), shown),
        ) from error


def _as_family_writes(message: dict[str, Any], family: Family) -> dict[str, Any]:
    """gpt-oss's template reads thinking under a name of its own, and refuses it beside a call that has text.

    It writes a call's text as analysis, so the two are one there.
    """
    reasoning = message.get("reasoning_content")
    if not family.is_harmony or not reasoning:
        return message
    if not (message.get("tool_calls") and message["content"]):
        return {**message, "thinking": reasoning}
    # transformers fills `thinking` in from any of its names.
    rest = {key: value for key, value in message.items() if key not in REASONING_NAMES}
    return {**rest, "content": f"{reasoning}\n\n{message['content']}"}


def _template_hint(reason: str, messages: list[dict[str, Any]]) -> str | None:
    if "system" in reason.lower() and any(message["role"] == "system" for message in messages):
        return "this model takes no system prompt: put it into the first message"
    return None


def _check_unicode(text: Any) -> None:
    if not isinstance(text, str):
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(f"character {error.start} of the prompt is not valid Unicode") from None
