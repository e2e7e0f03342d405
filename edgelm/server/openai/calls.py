"""Function calls that a request insists on: the answer is held to a schema of calls, and read as them.

`tool_choice` "required" asks for one call or more of any function, a named function for one call of it. Either is enforced by
the grammar of the answer, whatever a family's own form of a call is, as vLLM does it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from edgelm.server.http.errors import RequestError

MOST_CALLS = 8
"""In one answer that has to call."""


class NamedFunction(BaseModel):
    """The name of a function."""

    name: str


class NamedChoice(BaseModel):
    """A function that has to be called."""

    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | NamedChoice


@dataclass(frozen=True)
class ForcedCalls:
    """Calls that have to come."""

    schema: dict[str, Any]
    """What the answer is held to."""
    name: str | None
    """The function, where one is named: the answer is its arguments alone."""

    def read(self, text: str) -> list[tuple[str, str]] | None:
        """Return the (name, arguments as JSON) of an answer; None of one that was cut off."""
        try:
            value = json.loads(text)
        except ValueError:
            return None
        if self.name is not None:
            return [(self.name, json.dumps(value, ensure_ascii=False))]
        return [(call["name"], json.dumps(call["arguments"], ensure_ascii=False)) for call in value]


def forced_calls(choice: ToolChoice | None, tools: Mapping[str, Any], *, is_one: bool) -> ForcedCalls | None:
    """Return what `choice` insists on; None where calls are free.

    Args:
        tools: the JSON Schema of each function's parameters, by name.
        is_one: no more than one call may come.

    Raises:
        RequestError: a function that is none of the tools, or no tools at all.
    """
    if choice is None or choice in ("none", "auto"):
        return None
    if not tools:
        raise RequestError(
            400, "tool_choice is given without tools", param="tool_choice", code="invalid_value"
        )
    if isinstance(choice, NamedChoice):
        name = choice.function.name
        if name not in tools:
            names = ", ".join(tools)
            raise RequestError(
                400,
                f"tool_choice names {name!r}, expected one of {names}",
                param="tool_choice",
                code="invalid_value",
            )
        return ForcedCalls(_object(tools[name]), name)
    shared: dict[str, Any] = {}
    calls = [
        _call(name, _hoisted(_object(schema), f"{index}.", shared))
        for index, (name, schema) in enumerate(tools.items())
    ]
    items = {
        "type": "array",
        "minItems": 1,
        "maxItems": 1 if is_one else MOST_CALLS,
        "items": {"anyOf": calls},
    }
    return ForcedCalls({**items, **({"$defs": shared} if shared else {})}, None)


def _object(schema: Any) -> dict[str, Any]:
    """A function without parameters takes an empty object."""
    return dict(schema) if schema else {"type": "object", "properties": {}, "additionalProperties": False}


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _hoisted(schema: dict[str, Any], prefix: str, shared: dict[str, Any]) -> dict[str, Any]:
    """Move the definitions of a schema that becomes part of another to `shared`, under names of its own."""
    schema = copy.deepcopy(schema)
    for key in ("$defs", "definitions"):
        for name, definition in schema.pop(key, {}).items():
            shared[prefix + name] = _pointing(definition, prefix)
    pointing: dict[str, Any] = _pointing(schema, prefix)
    return pointing


def _pointing(value: Any, prefix: str) -> Any:
    if isinstance(value, list):
        return [_pointing(item, prefix) for item in value]
    if not isinstance(value, dict):
        return value
    pointing = {key: _pointing(item, prefix) for key, item in value.items()}
    ref = value.get("$ref")
    if isinstance(ref, str):
        for root in ("#/$defs/", "#/definitions/"):
            if ref.startswith(root):
                pointing["$ref"] = f"#/$defs/{prefix}{ref.removeprefix(root)}"
    return pointing
