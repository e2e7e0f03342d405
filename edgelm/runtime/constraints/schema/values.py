"""JSON values against JSON schemas, as far as a plain look tells: what a schema certainly does not admit.

Not a validator: what is not certain counts as admitted. Semantics: JSON Schema 2020-12.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_DEEPEST = 32
Resolve = Callable[[Any], Any]


def types_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """Return the types that a schema's `type` admits; a number may be an integer."""
    said = schema.get("type", TYPES)
    found = (
        {said} if isinstance(said, str) else set(said) if isinstance(said, list | frozenset) else set(TYPES)
    )
    return frozenset(found | ({"integer"} if "number" in found else set()))


def type_of(value: Any) -> str:
    """Return the type of a JSON value; a whole number is an integer."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == int(value) else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def same(one: Any, other: Any) -> bool:
    """JSON's equality: 1 is 1.0, and true is not 1."""
    return _canonical(one) == _canonical(other)


def rejects(schema: Any, value: Any, resolve: Resolve, depth: int = 0) -> bool:
    """Return whether `value` certainly is none of `schema`."""
    if not isinstance(schema, Mapping):
        return schema is False
    return depth < _DEEPEST and any(_reasons(schema, value, resolve, depth + 1))


def _reasons(schema: Mapping[str, Any], value: Any, resolve: Resolve, depth: int) -> Iterator[bool]:
    if "$ref" in schema:
        yield rejects(resolve(schema["$ref"]), value, resolve, depth)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            yield all(rejects(case, value, resolve, depth) for case in schema[key])
    if isinstance(schema.get("allOf"), list):
        yield any(rejects(part, value, resolve, depth) for part in schema["allOf"])
    yield type_of(value) not in types_of(schema)
    if "const" in schema:
        yield not same(schema["const"], value)
    if isinstance(schema.get("enum"), list):
        yield not any(same(each, value) for each in schema["enum"])
    yield from _sizes(schema, value)
    if isinstance(value, dict):
        yield from _members(schema, value, resolve, depth)


def _sizes(schema: Mapping[str, Any], value: Any) -> Iterator[bool]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        size, least, most = value, "minimum", "maximum"
    elif isinstance(value, str | list):
        names = ("minLength", "maxLength") if isinstance(value, str) else ("minItems", "maxItems")
        size, (least, most) = len(value), names
    else:
        return
    yield _is_number(schema.get(least)) and size < schema[least]
    yield _is_number(schema.get(most)) and size > schema[most]


def _members(
    schema: Mapping[str, Any], value: Mapping[str, Any], resolve: Resolve, depth: int
) -> Iterator[bool]:
    required, listed = schema.get("required"), schema.get("properties")
    listed = listed if isinstance(listed, Mapping) else {}
    yield isinstance(required, list) and any(name not in value for name in required)
    for name, each in value.items():
        rest = True if schema.get("patternProperties") else schema.get("additionalProperties", True)
        yield rejects(listed.get(name, rest), each, resolve, depth)


def _canonical(value: Any) -> str:
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return {name: _whole(item) for name, item in value.items()} if isinstance(value, dict) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
