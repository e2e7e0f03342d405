"""What `propertyNames` says of an object in words that can be enforced: its properties one by one, or by pattern.

Exactly the same objects: where every name must be one of some values, those are the properties; where it must match a pattern,
what other names may hold is what names of the pattern may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgelm.runtime.constraints.schema.formats import pattern_of

Resolve = Callable[[Any], Any]
_NOTES = {"title", "description", "type", "$comment"}


def spelt_out(schema: Any, resolve: Resolve) -> Any:
    """Return a copy of a document without the `propertyNames` that can be said otherwise."""
    if isinstance(schema, list):
        return [spelt_out(item, resolve) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    copy = {
        key: value if key in ("const", "enum", "default", "examples") else spelt_out(value, resolve)
        for key, value in schema.items()
    }
    if isinstance(copy.get("propertyNames"), Mapping | bool):
        copy = _spelt(copy, resolve)
    return copy


def _spelt(schema: dict[str, Any], resolve: Resolve) -> dict[str, Any]:
    if "properties" in schema or "patternProperties" in schema:
        return schema
    rest = {
        key: value for key, value in schema.items() if key not in ("propertyNames", "additionalProperties")
    }
    values = schema.get("additionalProperties", True)
    names = schema["propertyNames"]
    for _ in range(8):
        names = resolve(names["$ref"]) if isinstance(names, Mapping) and "$ref" in names else names
    if names is True or (isinstance(names, Mapping) and not names.keys() - _NOTES):
        return {**rest, "additionalProperties": values}
    if not isinstance(names, Mapping):
        return schema
    said = names.keys() - _NOTES
    listed = [names["const"]] if said == {"const"} else names.get("enum") if said == {"enum"} else None
    if isinstance(listed, list):
        properties = {name: values for name in listed if isinstance(name, str)}
        return {**rest, "properties": properties, "additionalProperties": False}
    pattern = (
        names["pattern"]
        if said == {"pattern"}
        else pattern_of(names.get("format"))
        if said == {"format"}
        else None
    )
    if isinstance(pattern, str):
        return {**rest, "patternProperties": {pattern: values}, "additionalProperties": False}
    return schema
