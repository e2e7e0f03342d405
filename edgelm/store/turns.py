"""Saved messages as the runtime takes them: what is shown is what is sent. Knows no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from edgelm.store.chat_schema import Message


def turns(lineage: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as the runtime takes them.

    A prompt that was stopped before the first word of its answer is said together with the next one, since templates want
    user and assistant in turn. One whose answer failed (it may be too long for the model) is left out, and so shown: see
    `left_out`.
    """
    path = list(lineage)
    gone = left_out(path)
    said: list[dict[str, Any]] = []
    for message in path:
        if message.id in gone or _is_empty(message):
            continue
        if message.role == "user" and said and said[-1]["role"] == "user":
            said[-1] = {"role": "user", "content": joined(said[-1]["content"], message.prompt_text())}
            continue
        turn: dict[str, Any] = {"role": message.role, "content": message.prompt_text()}
        if message.thinking:
            turn["reasoning_content"] = message.thinking
        if calls := [call for call in message.tool_calls if not call.get("error")]:
            turn["tool_calls"] = calls
        said.append(turn)
    return said


def left_out(path: Sequence[Message]) -> set[int]:
    """The ids of the prompts of a path that the model is not told: those whose answer failed before its first word."""
    pairs = pairwise(path)
    return {
        asked.id
        for asked, answer in pairs
        if asked.role == "user" and _is_empty(answer) and answer.state == "failed"
    }


def take_unanswered(said: list[dict[str, Any]], text: str) -> str:
    """`text` after the prompts at the end of `said` that have no answer; they are taken out of it."""
    while said and said[-1]["role"] == "user":
        text = joined(said.pop()["content"], text)
    return text


def joined(*texts: str) -> str:
    """Several prompts as one."""
    return "\n\n".join(text for text in texts if text)


def _is_empty(message: Message) -> bool:
    return message.role == "assistant" and not message.content and not message.tool_calls


def saved_calls(reply: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The calls of a chat's reply as they are saved: those that could not be read have an `error` and their `text`."""
    unread = [
        {"type": "function", "function": {"name": "", "arguments": {}}, **call}
        for call in reply.get("unread_calls", ())
    ]
    return [*reply.get("tool_calls", ()), *unread]
