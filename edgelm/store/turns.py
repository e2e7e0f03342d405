"""Saved messages as the runtime takes them. Knows no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgelm.store.chat_schema import Message


def turns(lineage: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as the runtime takes them; a prompt that was never answered is left out, but for the last."""
    said: list[dict[str, Any]] = []
    for message in lineage:
        if message.role == "assistant" and not message.content and not message.tool_calls:
            said = said[:-1] if said and said[-1]["role"] == "user" else said
            continue
        turn: dict[str, Any] = {"role": message.role, "content": message.prompt_text()}
        if message.thinking:
            turn["reasoning_content"] = message.thinking
        if calls := [call for call in message.tool_calls if not call.get("error")]:
            turn["tool_calls"] = calls
        said.append(turn)
    return said


def saved_calls(reply: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The calls of a chat's reply as they are saved: those that could not be read have an `error` and their `text`."""
    unread = [
        {"type": "function", "function": {"name": "", "arguments": {}}, **call}
        for call in reply.get("unread_calls", ())
    ]
    return [*reply.get("tool_calls", ()), *unread]
