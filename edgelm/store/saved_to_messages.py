"""Saved messages as the runtime takes them: what is shown is what is sent. Knows no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from edgelm.store.chat_schema import Message


def turns(lineage: Iterable[Message]) -> list[dict[str, Any]]:
    """Turn saved messages into those that the runtime takes.

    A prompt that was stopped before the first word of its answer is said together with the next one, since templates want
    user and assistant in turn. One whose answer failed (it may be too long for the model) is left out, and so shown: see
    `left_out`.
    """
    path = list(lineage)
    untold = left_out(path)
    told: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    for message in path:
        if message.id in untold or _is_empty(message):
            continue
        if message.role == "user" and told and told[-1]["role"] == "user":
            told[-1] = {"role": "user", "content": joined(told[-1]["content"], message.prompt_text())}
            continue
        turn: dict[str, Any] = {"role": message.role, "content": message.prompt_text()}
        if message.thinking:
            turn["reasoning_content"] = message.thinking
        if message.role == "assistant":
            waiting = _named_calls(message)
            turn |= {"tool_calls": list(waiting)} if waiting else {}
        if message.role == "tool" and waiting:
            turn |= _result_of(waiting.pop(0))
        told.append(turn)
    return told


def _named_calls(answer: Message) -> list[dict[str, Any]]:
    """The calls of an answer that could be read, each with an id; nine letters and digits are what Mistral takes."""
    calls = [call for call in answer.tool_calls if not call.get("error")]
    return [
        call if call.get("id") else {**call, "id": f"m{answer.id % 10**5:05}{at % 1000:03}"}
        for at, call in enumerate(calls)
    ]


def _result_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """Which call a result answers: results stand in the order of the calls."""
    function = call.get("function")
    name = function.get("name") if isinstance(function, Mapping) else call.get("name")
    return {"tool_call_id": call["id"], **({"name": name} if name else {})}


def left_out(path: Sequence[Message]) -> set[int]:
    """Find the ids of the prompts of a path that the model is not told: those whose answer failed before its first word."""
    pairs = pairwise(path)
    return {
        asked.id
        for asked, answer in pairs
        if asked.role == "user" and _is_empty(answer) and answer.state == "failed"
    }


def joined(*texts: str) -> str:
    """Join several prompts into one."""
    return "\n\n".join(text for text in texts if text)


def _is_empty(message: Message) -> bool:
    return message.role == "assistant" and not message.content and not message.tool_calls
