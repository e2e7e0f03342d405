"""Pydantic's errors as a model that calls tools can use them: which argument, what it is, and what was expected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

_FIELDS = (
    "missing",
    "missing_argument",
    "missing_keyword_only_argument",
    "extra_forbidden",
    "unexpected_keyword_argument",
)


def complaint(error: ValidationError, name: str, value: Any, schema: Mapping[str, Any]) -> str:
    """Return one sentence, e.g. `"days is 'two', expected integer"`; the members of a union are joined with "or".

    Args:
        error: of a model with the one field `value`.
        name: what the argument is called.
        value: the JSON value that was refused.
        schema: its JSON Schema, without `$ref`.
    """
    return " or ".join(dict.fromkeys(_sentence(detail, name, value, schema) for detail in error.errors()))


def _sentence(detail: Any, name: str, value: Any, schema: Mapping[str, Any]) -> str:
    kind = detail["type"]
    _, *place = detail["loc"][:-1] if kind in _FIELDS else detail["loc"]
    path, value, schema = _follow(place, name, value, schema)
    if isinstance(value, list) and kind == "missing":
        return f"{path} has {len(value)} items, expected {_keyword(schema, 'minItems')}"
    if kind in _FIELDS:
        keys = ", ".join(map(repr, value)) or "nothing"
        return f"{path} has {keys}, expected {', '.join(map(repr, _keyword(schema, 'properties')))}"
    if kind in ("enum", "literal_error"):
        return f"{path} is {value!r}, expected one of {detail['ctx']['expected'].replace(' or ', ', ')}"
    expected, is_type = re.subn(r"^Input should be (an? valid )?", "expected ", detail["msg"])
    return f"{path} is {value!r}, {expected}" if is_type else f"{path} is {value!r}: {expected}"


def _follow(
    place: Sequence[int | str], path: str, value: Any, schema: Mapping[str, Any]
) -> tuple[str, Any, Mapping[str, Any]]:
    """The place as text, with the value and the schema there. Pydantic puts the names of a union's members between the keys."""
    for part in place:
        is_key = isinstance(value, Mapping) and part in value
        is_item = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if is_key or is_item:
            value = value[part]
            path += f"[{part}]" if is_item else f".{part}"
            schema = _keyword(schema, "items") if is_item else _keyword(schema, "properties").get(part, {})
    return path, value, schema


def _keyword(schema: Mapping[str, Any], name: str) -> Any:
    """What a schema, or the first member of its union that has it, says of a keyword; nothing is an empty mapping."""
    return next((member[name] for member in (schema, *schema.get("anyOf", ())) if name in member), {})
