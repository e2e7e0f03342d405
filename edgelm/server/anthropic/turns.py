"""Messages of content blocks as messages that chat templates read: turns of one role in a row are one, results are `tool`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from pydantic.config import JsonDict, JsonValue

from edgelm.messages.values import MessageError, describe
from edgelm.server.anthropic.blocks import TurnBlocks, read_blocks, system_text, texts_of
from edgelm.server.anthropic.wire import own_call_id

ROLES = ("user", "assistant", "system")

_KINDS: list[JsonValue] = ["text", "thinking", "redacted_thinking", "tool_use", "tool_result", "document"]
_BLOCK: JsonDict = {
    "type": "object",
    "required": ["type"],
    "properties": {"type": {"enum": _KINDS}, "text": {"type": "string"}},
}
_CONTENT: JsonDict = {"anyOf": [{"type": "string"}, {"type": "array", "items": _BLOCK}]}
MESSAGE: JsonDict = {
    "required": ["role", "content"],
    "properties": {"role": {"enum": [*ROLES]}, "content": _CONTENT},
}
"""What the server's document says of a message; the reader says more."""


def chat_messages(system: Any, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages of a conversation.

    Args:
        system: text, text blocks or None.
        messages: each with its role and its content, text or blocks.

    Raises:
        MessageError: naming the message and the field inside.
    """
    read: list[dict[str, Any]] = []
    if system is not None and (text := system_text(system)):
        read.append({"role": "system", "content": text})
    placed = [(message, f"messages[{index}]") for index, message in enumerate(messages)]
    called: dict[str, str] = {}
    for role, turn in groupby(placed, lambda pair: _role(*pair)):
        if role == "system":
            read += [
                {"role": role, "content": system_text(message.get("content"), f"{at}.content")}
                for message, at in turn
            ]
            continue
        blocks = TurnBlocks()
        for message, at in turn:
            read_blocks(message.get("content"), f"{at}.content", role, blocks)
        read += _answer(blocks, called) if role == "assistant" else _question(blocks, called)
    return read


def ends_open(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the last message is the beginning of the answer.

    Raises:
        MessageError: it ends with a call, which waits for its result.
    """
    if not messages or messages[-1].get("role") != "assistant":
        return False
    content = messages[-1].get("content")
    if isinstance(content, list) and any(
        isinstance(block, Mapping) and block.get("type") == "tool_use" for block in content
    ):
        raise MessageError(
            f"messages[{len(messages) - 1}].content", "a tool_use without its tool_result after it"
        )
    return True


def _role(message: Mapping[str, Any], at: str) -> str:
    role = message.get("role")
    if role not in ROLES:
        raise MessageError(f"{at}.role", f"{describe(role)}, expected one of {', '.join(ROLES)}")
    return str(role)


def _answer(blocks: TurnBlocks, called: dict[str, str]) -> list[dict[str, Any]]:
    message: dict[str, Any] = {"role": "assistant", "content": texts_of(blocks.texts, "assistant")}
    if thinking := "\n".join(thought for thought in blocks.thoughts if thought):
        message["reasoning_content"] = thinking
    if blocks.calls:
        message["tool_calls"] = [
            {
                "id": own_call_id(call["id"]),
                "type": "function",
                "function": {"name": call["name"], "arguments": call["input"]},
            }
            for call in blocks.calls
        ]
        called.update({call["id"]: call["name"] for call in blocks.calls})
    return [message]


def _question(blocks: TurnBlocks, called: Mapping[str, str]) -> list[dict[str, Any]]:
    """Results stand behind the calls, wherever among the blocks they were."""
    messages: list[dict[str, Any]] = []
    for at, id_, text in blocks.results:
        if id_ not in called:
            raise MessageError(
                f"{at}.tool_use_id", f"{describe(id_)}, expected the id of a tool_use before it"
            )
        result = {"role": "tool", "tool_call_id": own_call_id(id_), "name": called[id_], "content": text}
        messages.append(result)
    if blocks.texts or not messages:
        messages.append({"role": "user", "content": texts_of(blocks.texts, "user")})
    return messages
