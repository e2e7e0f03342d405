"""Messages of Ollama's as messages that chat templates read. Calls get ids, which Ollama leaves out and templates ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.config import JsonDict

from edgelm.messages.values import MessageError, read_list, read_object

MESSAGE: JsonDict = {
    "required": ["role"],
    "properties": {
        "role": {"enum": ["system", "user", "assistant", "tool"]},
        "content": {"type": ["string", "null"]},
    },
}
"""What the server's document says of a message; the reader says more."""

_KEPT = ("role", "content", "thinking", "tool_calls", "tool_call_id")


def template_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages of a conversation.

    Raises:
        MessageError: a picture, or calls that are none.
    """
    read: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    count = 0
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        if message.get("images"):
            raise MessageError(f"{at}.images", "pictures, and the models here read text only")
        turn = {key: message[key] for key in _KEPT if message.get(key) is not None}
        turn.setdefault("content", "")
        if turn.get("role") == "tool":
            read.append(_result(turn, message.get("tool_name"), waiting))
            continue
        if "tool_calls" in turn:
            calls = read_list(turn["tool_calls"], f"{at}.tool_calls")
            waiting = [
                {
                    "id": f"{count + number:09d}",
                    "type": "function",
                    **read_object(call, f"{at}.tool_calls[{number}]"),
                }
                for number, call in enumerate(calls)
            ]
            count += len(waiting)
            turn["tool_calls"] = list(waiting)
        read.append(turn)
    return read


def _result(turn: dict[str, Any], name: Any, waiting: list[dict[str, Any]]) -> dict[str, Any]:
    """A result belongs to the call that it names, else to the first of its function that waits, else to the first."""
    own = next((call for call in waiting if call["id"] == turn.get("tool_call_id")), None)
    own = own or next((call for call in waiting if name is not None and _name(call) == name), None)
    own = own or (waiting[0] if waiting and "tool_call_id" not in turn else None)
    if own is not None:
        waiting.remove(own)
        turn = {**turn, "tool_call_id": own["id"]}
        name = name or _name(own)
    return turn if name is None else {**turn, "name": name}


def _name(call: Mapping[str, Any]) -> Any:
    function = call.get("function")
    return function.get("name") if isinstance(function, Mapping) else None
