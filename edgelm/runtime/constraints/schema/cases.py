"""Whether the cases of a `oneOf` exclude each other, so that choosing one of them is what `oneOf` asks for.

The question is about what is written and not only about what is meant: a reply is made by a case as `schema.prepare` narrows
it (an object without unlisted properties), and must not be a value of another case as it was given. "No" means that it could
not be shown. Knows no compiler.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from edgelm.runtime.constraints.schema.values import rejects, types_of

_POSITIONS = 8
"""Items of arrays that are compared."""


class Cases:
    """Compares what is made by schemas of one document with schemas of another, of which the first is a narrower copy.

    Args:
        made: the schema that a `$ref` of the first document leads to.
        given: the same of the second.
        closes: whether objects that list their properties are written without others.
    """

    def __init__(self, made: Callable[[Any], Any], given: Callable[[Any], Any], *, closes: bool) -> None:
        self._of_made, self._of_given = made, given
        self._closes = closes
        self._asking: set[tuple[int, int]] = set()

    def are_apart(self, made: Sequence[Any], given: Sequence[Any]) -> bool:
        """Return whether no reply made by one case is a value of another; the same cases in both documents, in order."""
        pairs = ((one, other) for i, one in enumerate(made) for j, other in enumerate(given) if i != j)
        return all(self._never(one, other) for one, other in pairs)

    def _never(self, made: Any, given: Any) -> bool:
        """No reply made by one is a value of the other."""
        if made is False or given is False:
            return True
        if not isinstance(made, Mapping) or not isinstance(given, Mapping):
            return False
        key = (id(made), id(given))
        if key in self._asking:
            return False
        self._asking.add(key)
        try:
            return any(self._reasons(made, given))
        finally:
            self._asking.discard(key)

    def _reasons(self, made: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[bool]:
        if "$ref" in made:
            yield self._never(self._of_made(made["$ref"]), given)
        if "$ref" in given:
            yield self._never(made, self._of_given(given["$ref"]))
        yield any(self._never(part, given) for part in _schemas(made, "allOf"))
        yield any(self._never(made, part) for part in _schemas(given, "allOf"))
        for key in ("anyOf", "oneOf"):
            if cases := _schemas(made, key):
                yield all(self._never(case, given) for case in cases)
            if cases := _schemas(given, key):
                yield all(self._never(made, case) for case in cases)
        yield self._by_values(made, given)
        yield all(self._by_type(kind, made, given) for kind in types_of(made) & types_of(given))

    def _by_values(self, made: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
        for one, other, resolve in ((made, given, self._of_given), (given, made, self._of_made)):
            values = [one["const"]] if "const" in one else one.get("enum")
            if isinstance(values, list) and all(rejects(other, value, resolve) for value in values):
                return True
        return False

    def _by_type(self, kind: str, made: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
        if kind == "object":
            return self._objects(made, given)
        if kind == "array":
            return self._arrays(made, given)
        if kind == "string":
            return _apart(_counts(made, "minLength", "maxLength"), _counts(given, "minLength", "maxLength"))
        if kind in ("integer", "number"):
            return _apart(_range(made), _range(given))
        return False

    def _objects(self, made: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
        names = {name for one in (made, given) for name in _names(one)}
        return any(
            self._never(
                self._property(made, name, closes=self._closes), self._property(given, name, closes=False)
            )
            for name in names
        )

    def _property(self, schema: Mapping[str, Any], name: str, *, closes: bool) -> Any:
        """What a property of an object must be; False if there can be none."""
        listed = schema.get("properties")
        if isinstance(listed, Mapping) and name in listed:
            return listed[name]
        if schema.get("patternProperties"):
            return True
        if "additionalProperties" in schema:
            return schema["additionalProperties"]
        return not (closes and isinstance(listed, Mapping) and all(each in listed for each in _names(schema)))

    def _arrays(self, made: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
        ours, theirs = _counts(made, "minItems", "maxItems"), _counts(given, "minItems", "maxItems")
        if _apart(ours, theirs):
            return True
        certain = int(min(max(ours[0], theirs[0]), _POSITIONS))
        return any(self._never(_item(made, at), _item(given, at)) for at in range(certain))


def _schemas(schema: Mapping[str, Any], key: str) -> list[Any]:
    found = schema.get(key)
    return found if isinstance(found, list) else []


def _names(schema: Mapping[str, Any]) -> list[str]:
    """The schemas of properties that must be there."""
    required = schema.get("required")
    return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []


def _item(schema: Mapping[str, Any], at: int) -> Any:
    first, rest = schema.get("prefixItems", []), schema.get("items", True)
    if isinstance(rest, list):
        first, rest = rest, schema.get("additionalItems", True)
    return first[at] if isinstance(first, list) and at < len(first) else rest


def _counts(schema: Mapping[str, Any], least: str, most: str) -> tuple[float, float]:
    low, high = schema.get(least, 0), schema.get(most, math.inf)
    return (low if _is_number(low) else 0), (high if _is_number(high) else math.inf)


def _range(schema: Mapping[str, Any]) -> tuple[float, float]:
    """The smallest and the largest number; of open bounds, the next float inside."""
    lows = [schema["minimum"]] if _is_number(schema.get("minimum")) else []
    highs = [schema["maximum"]] if _is_number(schema.get("maximum")) else []
    if _is_number(schema.get("exclusiveMinimum")):
        lows.append(math.nextafter(schema["exclusiveMinimum"], math.inf))
    if _is_number(schema.get("exclusiveMaximum")):
        highs.append(math.nextafter(schema["exclusiveMaximum"], -math.inf))
    return max(lows, default=-math.inf), min(highs, default=math.inf)


def _apart(ours: tuple[float, float], theirs: tuple[float, float]) -> bool:
    return ours[1] < theirs[0] or theirs[1] < ours[0]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
