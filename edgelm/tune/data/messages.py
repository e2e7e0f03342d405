"""A list of messages, checked and brought into the form that chat templates expect.

Roles of other tools become `system`, `user`, `assistant` and `tool`; content made of parts becomes one text; a
tool call's arguments become an object. Every other key passes through as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgelm.errors import FormatError
from edgelm.tune.data.problems import Sort

ROLES = ("system", "developer", "user", "assistant", "tool")

_ALIASES = {
    "human": "user", "prompter": "user", "question": "user",
    "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant", "answer": "assistant",
    "function": "tool", "observation": "tool", "function_response": "tool", "ipython": "tool",
}  # fmt: skip
_REASONING = ("reasoning", "thinking", "thought")
"""Other names of `reasoning_content`, the one that templates read."""


class RowError(FormatError):
    """One field of one row is not what it should be; turned into a Problem by whoever knows the row."""

    def __init__(self, field: str, reason: str, sort: Sort = "field") -> None:
        super().__init__(reason)
        self.field = field
        self.sort: Sort = sort


def read_messages(value: Any, field: str) -> tuple[dict[str, Any], ...]:
    """The messages in `value`, found under `field`.

    Raises:
        RowError: naming the field inside.
    """
    items = read_list(value, field)
    if not items:
        raise RowError(field, "the list is empty, expected messages")
    return tuple(_read_message(item, f"{field}[{index}]") for index, item in enumerate(items))


def read_list(value: Any, field: str) -> list[Any]:
    """A list, or the JSON text of one, as a CSV cell holds it."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RowError(field, f"not a valid JSON list: {error}") from None
    if not isinstance(value, (list, tuple)):
        raise RowError(field, f"{describe(value)}, expected a list")
    return list(value)


def read_text(value: Any, field: str) -> str:
    """A text.

    Raises:
        RowError: something else, or not valid Unicode.
    """
    if not isinstance(value, str):
        raise RowError(field, f"{describe(value)}, expected text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RowError(
            field, f"character {error.start} is half of a surrogate pair, not valid Unicode"
        ) from None
    return value


def describe(value: Any) -> str:
    """A value in a few words: "null", "a list of 3", "the number 7"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value:g}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return repr(value if len(value) <= 30 else value[:29] + "…")
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"


def read_tools(value: Any, field: str = "tools") -> tuple[dict[str, Any], ...]:
    """Functions that the model may call: a list of objects, none if there is none."""
    if value is None or value == "":
        return ()
    tools = read_list(value, field)
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise RowError(f"{field}[{index}]", f"{describe(tool)}, expected an object")
    return tuple(dict(tool) for tool in tools)


def _read_message(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise RowError(field, f"{describe(value)}, expected an object with role and content")
    message = {key: item for key, item in value.items() if key not in ("from", "value") and item is not None}
    message["role"] = _read_role(value, field)
    said = value["content"] if "content" in value else value.get("value")
    calls = _read_calls(value.get("tool_calls"), f"{field}.tool_calls")
    if calls:
        message["tool_calls"] = calls
    else:
        message.pop("tool_calls", None)
    message["content"] = _read_content(said, f"{field}.content", may_lack=bool(calls))
    _read_weight(value.get("weight"), f"{field}.weight")
    _name_reasoning(message, field)
    return message


def _read_role(message: Mapping[str, Any], field: str) -> str:
    key = "role" if "role" in message else "from"
    if key not in message:
        raise RowError(field, f"no role; keys are {', '.join(map(str, message)) or 'none'}")
    given = message[key]
    role = _ALIASES.get(given, given) if isinstance(given, str) else given
    if role not in ROLES:
        raise RowError(f"{field}.{key}", f"{describe(given)}, expected one of {', '.join(ROLES)}")
    return str(role)


def _read_content(value: Any, field: str, *, may_lack: bool) -> str:
    if value is None and may_lack:
        return ""
    if isinstance(value, (list, tuple)):
        return "".join(_read_part(part, f"{field}[{index}]") for index, part in enumerate(value))
    return read_text(value, field)


def _read_part(part: Any, field: str) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text":
        return read_text(part.get("text"), f"{field}.text")
    kind = part.get("type") if isinstance(part, Mapping) else part
    raise RowError(field, f"{describe(kind)}, expected a text part: edgelm tunes on text only")


def _read_calls(value: Any, field: str) -> list[dict[str, Any]]:
    if value is None or value == []:
        return []
    return [_read_call(call, f"{field}[{index}]") for index, call in enumerate(read_list(value, field))]


def _read_call(call: Any, field: str) -> dict[str, Any]:
    if not isinstance(call, Mapping):
        raise RowError(field, f"{describe(call)}, expected an object")
    wrapped = call.get("function")
    function = dict(wrapped) if isinstance(wrapped, Mapping) else dict(call)
    at = f"{field}.function" if isinstance(wrapped, Mapping) else field
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise RowError(f"{at}.name", f"{describe(function.get('name'))}, expected the function's name")
    function["arguments"] = _read_arguments(function.get("arguments"), f"{at}.arguments")
    return {**call, "function": function} if isinstance(wrapped, Mapping) else function


def _read_arguments(value: Any, field: str) -> dict[str, Any]:
    """OpenAI writes them as the text of an object, and templates want the object."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RowError(field, f"not a valid JSON object: {error}") from None
    if not isinstance(value, Mapping):
        raise RowError(field, f"{describe(value)}, expected an object of arguments")
    return dict(value)


def _read_weight(value: Any, field: str) -> None:
    if value is not None and value not in (0, 1):
        raise RowError(field, f"{describe(value)}, expected 0 (not trained) or 1")


def _name_reasoning(message: dict[str, Any], field: str) -> None:
    for name in ("reasoning_content", *_REASONING):
        if name in message:
            message.setdefault("reasoning_content", read_text(message[name], f"{field}.{name}"))
