"""Items of a conversation as messages: an answer's thinking, text and calls stand in one, as chat templates want them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgelm.messages.content import read_content
from edgelm.messages.values import MessageError, describe, read_object, read_text
from edgelm.server.openai.responses.thoughts import unwrap
from edgelm.server.openai.responses.toolbox import SHELL, spoken_name

Item = Mapping[str, Any]
Message = dict[str, Any]

CALLS = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "local_shell_call": "local_shell_call_output",
}
"""Kinds of calls, and of what comes back."""
_KINDS = ("message", "reasoning", *CALLS, *CALLS.values(), "item_reference")
_SYSTEM = ("system", "developer")


def messages_of(
    items: Sequence[Any], instructions: str | None, find: Callable[[str], Item | None], *, first: int = 0
) -> list[Message]:
    """Return the messages of a conversation, what the system and the developer say first in one.

    Args:
        items: of the conversation, in their order.
        instructions: what the system says before all else.
        find: gives the item that another points to by its id.
        first: which of the items is the first of the request, by which they are counted in errors.

    Raises:
        MessageError: naming the item and the field inside.
    """
    messages = _Messages()
    for index, item in enumerate(items):
        number = index - first
        messages.add(item, f"input[{number}]" if number >= 0 else "the conversation before", find)
    return _with_instructions(messages.ended(), instructions)


def _with_instructions(messages: list[Message], instructions: str | None) -> list[Message]:
    """Templates take one system message, the first."""
    leading = 0
    while leading < len(messages) and messages[leading]["role"] in _SYSTEM:
        leading += 1
    texts = [*([instructions] if instructions else []), *(each["content"] for each in messages[:leading])]
    system = [{"role": "system", "content": "\n\n".join(texts)}] if texts else []
    return [*system, *messages[leading:]]


class _Messages:
    """Messages so far, and the answer that is being put together."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._answer: Message | None = None
        self._names: dict[str, str] = {}

    def ended(self) -> list[Message]:
        self._end_answer()
        return self._messages

    def add(self, item: Any, field: str, find: Callable[[str], Item | None]) -> None:
        item = read_object(item, field, "an item")
        kind = item.get("type", "message" if "role" in item else None)
        if kind == "item_reference":
            name = read_text(item.get("id"), f"{field}.id")
            found = find(name)
            if found is None:
                raise MessageError(f"{field}.id", f"there is no item {name!r} here")
            self.add(found, field, find)
        elif kind == "message":
            self._add_message(item, field)
        elif kind == "reasoning":
            self._think(item, field)
        elif kind in CALLS:
            self._call(str(kind), item, field)
        elif kind in CALLS.values():
            self._result(item, field)
        else:
            raise MessageError(f"{field}.type", f"{describe(kind)}, expected one of {', '.join(_KINDS)}")

    def _end_answer(self) -> None:
        answer, self._answer = self._answer, None
        # Thinking without anything after it was cut off, or belongs to what the client left out.
        if answer is not None and ("content" in answer or "tool_calls" in answer):
            self._messages.append({"content": "", **answer})

    def _open_answer(self, *closed_by: str) -> Message:
        if self._answer is not None and any(name in self._answer for name in closed_by):
            self._end_answer()
        self._answer = self._answer or {"role": "assistant"}
        return self._answer

    def _add_message(self, item: Item, field: str) -> None:
        role = item.get("role")
        if role not in ("user", "assistant", *_SYSTEM):
            raise MessageError(
                f"{field}.role", f"{describe(role)}, expected user, assistant, system or developer"
            )
        text = _text(item.get("content"), f"{field}.content")
        if role == "assistant":
            self._open_answer("content", "tool_calls")["content"] = text
            return
        self._end_answer()
        self._messages.append({"role": role, "content": text})

    def _think(self, item: Item, field: str) -> None:
        thinking = "".join(
            read_text(
                read_object(part, f"{field}.{name}[{index}]").get("text"), f"{field}.{name}[{index}].text"
            )
            for name in ("content", "summary")
            for index, part in enumerate(item.get(name) or ())
        )
        carried = item.get("encrypted_content")
        if not thinking and carried is not None:
            thinking = unwrap(read_text(carried, f"{field}.encrypted_content"), f"{field}.encrypted_content")
        if thinking:
            self._open_answer("reasoning_content", "content", "tool_calls")["reasoning_content"] = thinking

    def _call(self, kind: str, item: Item, field: str) -> None:
        call_id = read_text(item.get("call_id") or item.get("id"), f"{field}.call_id")
        name, arguments = _called(kind, item, field)
        self._names[call_id] = name
        call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        self._open_answer().setdefault("tool_calls", []).append(call)

    def _result(self, item: Item, field: str) -> None:
        self._end_answer()
        call_id = read_text(item.get("call_id") or item.get("id"), f"{field}.call_id")
        result = {
            "role": "tool",
            "tool_call_id": call_id,
            "content": _text(item.get("output"), f"{field}.output"),
        }
        if call_id in self._names:
            result["name"] = self._names[call_id]
        self._messages.append(result)


def _called(kind: str, item: Item, field: str) -> tuple[str, str]:
    """The model's name of what was called, and its arguments as JSON."""
    if kind == "local_shell_call":
        action = dict(read_object(item.get("action"), f"{field}.action"))
        told = {
            key: value for key, value in action.items() if key not in ("type", "env") and value is not None
        }
        return SHELL, json.dumps(told, ensure_ascii=False)
    namespace = item.get("namespace")
    name = spoken_name(
        read_text(item.get("name"), f"{field}.name"),
        None if namespace is None else read_text(namespace, f"{field}.namespace"),
    )
    if kind == "custom_tool_call":
        return name, json.dumps({"input": read_text(item.get("input"), f"{field}.input")}, ensure_ascii=False)
    return name, read_text(item.get("arguments"), f"{field}.arguments")


def _text(content: Any, field: str) -> str:
    if isinstance(content, list):
        content = [
            {"type": "text", "text": part.get("refusal")}
            if isinstance(part, Mapping) and part.get("type") == "refusal"
            else part
            for part in content
        ]
    return read_content(content, field, may_lack=False)[0]
