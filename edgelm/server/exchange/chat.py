"""A chat that is asked for, and what the model is told of it: its messages, its tools, and the form that the answer has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgelm.api import Model
from edgelm.messages.reader import read_messages
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.server.exchange.body import refusal
from edgelm.server.exchange.calls import ForcedCalls
from edgelm.server.replies import ReplyTask
from edgelm.text.families.family import family_of
from edgelm.text.prompt import encode_begun, encode_chat, require_tool_support

_EFFORTS = {
    **dict.fromkeys(("none", "minimal", "low"), "low"),
    "medium": "medium",
    **dict.fromkeys(("high", "xhigh", "max"), "high"),
}
"""What templates are told: the three words that families were taught."""

Definitions = Sequence[Mapping[str, Any]]
"""Tools in the form that chat templates read, which is OpenAI's."""


def definition(name: str, description: str | None, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return one tool in that form."""
    function = {"name": name, "description": description, "parameters": parameters}
    return {
        "type": "function",
        "function": {key: value for key, value in function.items() if value is not None},
    }


def parameters_of(tools: Definitions) -> dict[str, Any]:
    """Return the JSON Schema of each tool's parameters, by its name."""
    return {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in tools}


def answer_form(forced: ForcedCalls | None, schema: Any, field: str, tools: Definitions) -> dict[str, Any]:
    """Return the settings that hold an answer to its form.

    Args:
        forced: calls that the request insists on; stop strings are no end of them, as of no other call.
        schema: a JSON Schema that the answer has to match; None for none.
        field: where the request asks for it.
        tools: those that the model is told of.

    Raises:
        RequestError: a form, and tools that may be called instead.
    """
    if forced is not None:
        return {"schema": forced.schema, "stop": ()}
    if schema is None:
        return {}
    if tools:
        raise refusal(field, "is given beside tools: an answer of a given form calls no function")
    return {"schema": schema}


def chat_task(
    model: Model,
    messages: Sequence[Any],
    options: GenerationOptions,
    tools: Definitions,
    *,
    goes_on: bool = False,
    effort: str | None = None,
) -> ReplyTask:
    """Return the prompt and the settings of one answer; renders and encodes, which takes time.

    Args:
        goes_on: the last message is the beginning of the answer, which is to go on from there.
        effort: how much the model is to think, in any API's words; told to those whose template asks for it.

    Raises:
        PromptError, MessageError, UnsupportedError: the request cannot be met by this model.
    """
    if tools:
        require_tool_support(model.tokenizer)
    thinks = options.enable_thinking if family_of(model.tokenizer).can_think else None
    read, told = read_messages(list(messages)), _EFFORTS.get(effort or "")
    if goes_on:
        begun = read.pop()
        thought = begun.get("reasoning_content", "")
        ids = encode_begun(
            model.tokenizer,
            read,
            begun["content"],
            thinking=thought,
            enable_thinking=thinks,
            effort=told,
            tools=tools,
        )
    else:
        ids = encode_chat(model.tokenizer, read, enable_thinking=thinks, effort=told, tools=tools)
    return ReplyTask(ids, options, list(tools) or None)
