"""Tool calls and tools inside messages: OpenAI's form, wrapped in `function` or not, arguments as text or object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgelm.messages.values import MessageError, describe, read_list, read_object, read_text


def read_calls(value: Any, field: str) -> list[dict[str, Any]]:
    """Return the calls of one message, with arguments that are objects; none for null.

    Raises:
        MessageError: naming the field inside.
    """
    if value is None or value == []:
        return []
    return [read_call(call, f"{field}[{index}]") for index, call in enumerate(read_list(value, field))]


def read_call(call: Any, field: str) -> dict[str, Any]:
    """Check one call and return it, its arguments an object.

    Raises:
        MessageError: it has no name, or arguments that are no object.
    """
    call = read_object(call, field)
    wrapped = call.get("function")
    function = dict(wrapped) if isinstance(wrapped, Mapping) else dict(call)
    at = f"{field}.function" if isinstance(wrapped, Mapping) else field
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise MessageError(f"{at}.name", f"{describe(name)}, expected the function's name")
    read_text(name, f"{at}.name")
    function["arguments"] = read_arguments(function.get("arguments"), f"{at}.arguments")
    return {**call, "function": function} if isinstance(wrapped, Mapping) else function


def read_arguments(value: Any, field: str) -> dict[str, Any]:
    """Return the arguments of a call as the object that templates want; OpenAI writes them as its text.

    Raises:
        MessageError: neither.
    """
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise MessageError(field, f"not a valid JSON object: {error}") from None
    if not isinstance(value, Mapping):
        raise MessageError(field, f"{describe(value)}, expected an object of arguments")
    return dict(value)


def read_tools(value: Any, field: str = "tools") -> tuple[dict[str, Any], ...]:
    """Return the functions that the model may call, each an object; none if there is none.

    Raises:
        MessageError: naming the field inside.
    """
    if value is None or value == "":
        return ()
    tools = read_list(value, field)
    return tuple(dict(read_object(tool, f"{field}[{index}]")) for index, tool in enumerate(tools))
