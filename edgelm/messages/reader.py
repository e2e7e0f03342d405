"""A list of messages, checked and brought into the form that chat templates expect.

Roles of other tools become `system`, `user`, `assistant` and `tool`; content made of parts becomes one text; a
tool call's arguments become an object, an old `function_call` one of the `tool_calls`; thinking is under
`reasoning_content`. Every other key passes through as it is. Reading what was read changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgelm.messages.calls import read_call, read_calls
from edgelm.messages.content import read_content, read_reasoning
from edgelm.messages.values import MessageError, describe, read_list, read_object, read_text

ROLES = ("system", "developer", "user", "assistant", "tool")

_ALIASES = {
    "human": "user", "prompter": "user", "question": "user",
    "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant", "answer": "assistant",
    "ai": "assistant", "function": "tool", "observation": "tool", "function_response": "tool", "ipython": "tool",
}  # fmt: skip
_CALLING = ("function_call", "tool_call")
_NAMES = ("name", "tool_call_id")

Keys = tuple[str, str]
"""Under which keys the role and the content may stand instead, as ShareGPT's `("from", "value")`."""


def read_messages(
    value: Any, field: str = "messages", *, or_keys: Keys | None = None
) -> list[dict[str, Any]]:
    """Return the messages in `value`, found under `field`; at least one.

    Raises:
        MessageError: naming the message and the field inside.
    """
    items = read_list(_rows_of(value), field)
    if not items:
        raise MessageError(field, "the list is empty, expected messages")
    return [read_message(item, f"{field}[{index}]", or_keys=or_keys) for index, item in enumerate(items)]


def _rows_of(value: Any) -> Any:
    """Messages of an object of lists, which `datasets` makes of a list of objects (`Sequence`), one by one."""
    if not isinstance(value, Mapping) or not all(isinstance(column, list) for column in value.values()):
        return value
    if len({len(column) for column in value.values()}) != 1:
        return value
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def read_turns(value: Iterable[Any], field: str = "messages") -> list[dict[str, Any]]:
    """Return the messages of any iterable, which may be empty.

    Raises:
        MessageError: as `read_messages`; and for text or one message alone.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise MessageError(field, f"{describe(value)}, expected a list of messages")
    return [read_message(item, f"{field}[{index}]") for index, item in enumerate(value)]


def read_message(value: Any, field: str, *, or_keys: Keys | None = None) -> dict[str, Any]:
    """Check one message and return it in the form that chat templates expect.

    Raises:
        MessageError: naming the field inside.
    """
    value = _as_answer(read_object(value, field, "an object with role and content"), field, or_keys)
    message = {
        str(key): item for key, item in value.items() if key not in (or_keys or ()) and item is not None
    }
    message["role"] = _read_role(value, field, or_keys)
    _read_calls_into(message, value, field)
    content = _content_of(value, field, or_keys)
    reasoning = read_reasoning(value, field)
    may_lack = "tool_calls" in message or reasoning is not None
    message["content"], thinking = read_content(content, f"{field}.content", may_lack=may_lack)
    if reasoning or thinking:
        message["reasoning_content"] = reasoning or thinking
    for name in _NAMES:
        if name in message:
            read_text(message[name], f"{field}.{name}")
    return message


def _as_answer(value: Mapping[str, Any], field: str, or_keys: Keys | None) -> Mapping[str, Any]:
    """ShareGPT's turn of a call, whose content is the JSON of one or several, as an answer that calls."""
    role = "role" if "role" in value or or_keys is None else or_keys[0]
    if value.get(role) not in _CALLING:
        return value
    key = "content" if "content" in value or or_keys is None else or_keys[1]
    content, at = value.get(key), f"{field}.{key}"
    is_list = isinstance(content, list) or (isinstance(content, str) and content.lstrip().startswith("["))
    calls = read_calls(content if is_list else [content], at)
    rest = {name: item for name, item in value.items() if name not in (role, key)}
    return {**rest, "role": "assistant", "content": None, "tool_calls": calls}


def _read_role(message: Mapping[str, Any], field: str, or_keys: Keys | None) -> str:
    key = "role" if "role" in message or or_keys is None else or_keys[0]
    if key not in message:
        keys = ", ".join(map(str, message)) or "none"
        raise MessageError(field, f"no role; keys are {keys}, expected a role and a content")
    given = message[key]
    role = _ALIASES.get(given, given) if isinstance(given, str) else given
    if role not in ROLES:
        raise MessageError(f"{field}.{key}", f"{describe(given)}, expected one of {', '.join(ROLES)}")
    return str(role)


def _content_of(message: Mapping[str, Any], field: str, or_keys: Keys | None) -> Any:
    if "content" in message or or_keys is None:
        return message.get("content")
    return message.get(or_keys[1])


def _read_calls_into(message: dict[str, Any], value: Mapping[str, Any], field: str) -> None:
    calls = read_calls(value.get("tool_calls"), f"{field}.tool_calls")
    old = value.get("function_call")
    if not calls and old is not None:
        calls = [{"type": "function", "function": read_call(old, f"{field}.function_call")}]
    message.pop("function_call", None)
    message.pop("tool_calls", None)
    if calls:
        message["tool_calls"] = calls
