"""Function calls that a request insists on: the answer is held to a schema of calls, and read as them.

An API asks for one call or more of any function (OpenAI's "required", Anthropic's "any"), or for one call of a named one.
Either is enforced by the grammar of the answer, whatever a family's own form of a call is, as vLLM does it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm.server.http.errors import RequestError

MOST_CALLS = 8
"""In one answer that has to call."""


@dataclass(frozen=True)
class ForcedCalls:
    """Calls that have to come."""

    schema: dict[str, Any]
    """What the answer is held to."""
    name: str | None
    """The function, where one is named: the answer is its arguments alone."""

    def read(self, text: str) -> list[tuple[str, dict[str, Any]]] | None:
        """Return the name and the arguments of each call of an answer; None of one that was cut off."""
        try:
            value = json.loads(text)
        except ValueError:
            return None
        if self.name is not None:
            return [(self.name, value)]
        return [(call["name"], call["arguments"]) for call in value]


def forced_calls(tools: Mapping[str, Any], name: str | None, *, is_one: bool) -> ForcedCalls:
    """Return what a request insists on in its field `tool_choice`.

    Args:
        tools: the JSON Schema of each function's parameters, by name.
        name: the function that has to be called; None is any.
        is_one: no more than one call may come.

    Raises:
        RequestError: a function that is none of the tools, or no tools at all.
    """
    if not tools:
        raise _refusal("is given without tools")
    if name is not None:
        if name not in tools:
            raise _refusal(f"names {name!r}, expected one of {', '.join(tools)}")
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


def _refusal(problem: str) -> RequestError:
    return RequestError(400, f"tool_choice {problem}", param="tool_choice", code="invalid_value")


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
