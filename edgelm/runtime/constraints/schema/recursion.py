"""Recursive schemas with an end: references to themselves are followed so many times, and no further.

A model in a loop would go deeper for ever; so each level of a recursion becomes a definition of its own, and the
last leaves out what goes on. Every value of the result is one of the schema as given. Knows no keyword but those
that hold schemas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

DEPTH = 12
"""How often a schema may contain itself."""

Resolve = Callable[[Any], Any]
_OF_PLAIN_VALUES = {"const", "enum", "default", "examples", "example", "required"}
_OF_NAMED_SCHEMAS = {"properties", "patternProperties"}
_DEFINITIONS = ("$defs", "definitions")


def unrolled(
    root: Mapping[str, Any], resolve: Resolve, ends: Callable[[Mapping[str, Any], Any], bool]
) -> dict[str, Any]:
    """Return `root` without recursion; itself where it has none.

    Args:
        resolve: the schema that a `$ref` of `root` leads to.
        ends: `(document, schema)` → whether the schema has a finite value.
    """
    recursive = _recursive(root, resolve)
    if not recursive:
        return dict(root)
    whole = _Unroller(root, recursive, resolve).run()
    gone = {f"#/$defs/{name}" for name, schema in whole["$defs"].items() if not ends(whole, schema)}
    found: dict[str, Any] = _without(whole, gone)
    return found


def _without(schema: Any, gone: set[str]) -> Any:
    """A copy in which references to what has no value are false."""
    if isinstance(schema, list):
        return [_without(item, gone) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    if isinstance(schema.get("$ref"), str) and schema["$ref"] in gone:
        return False
    return {key: _value_without(key, value, gone) for key, value in schema.items()}


def _value_without(key: str, value: Any, gone: set[str]) -> Any:
    if key == "$defs":
        return {name: _without(item, gone) for name, item in value.items() if f"#/$defs/{name}" not in gone}
    if key in _OF_NAMED_SCHEMAS:
        return {name: _without(item, gone) for name, item in value.items()}
    return value if key in _OF_PLAIN_VALUES else _without(value, gone)


class _Unroller:
    def __init__(self, root: Mapping[str, Any], recursive: set[str], resolve: Resolve) -> None:
        self._root = root
        self._recursive = recursive
        self._resolve = resolve
        self._numbers: dict[str, int] = {}
        self._made: dict[str, Any] = {}
        self._todo: list[tuple[str, str, int]] = []

    def run(self) -> dict[str, Any]:
        top = self._copy({k: v for k, v in self._root.items() if k not in _DEFINITIONS}, 0)
        while self._todo:
            name, reference, level = self._todo.pop()
            target = self._resolve(reference)
            if isinstance(target, Mapping):
                target = {k: v for k, v in target.items() if k not in _DEFINITIONS}
            self._made[name] = self._copy(target, level)
        whole: dict[str, Any] = {**top, "$defs": self._made}
        return whole

    def _copy(self, schema: Any, level: int) -> Any:
        if isinstance(schema, list):
            return [self._copy(item, level) for item in schema]
        if not isinstance(schema, Mapping):
            return schema
        if "$ref" in schema:
            return self._reference(schema, level)
        return {key: self._value(key, value, level) for key, value in schema.items()}

    def _value(self, key: str, value: Any, level: int) -> Any:
        if key in _OF_NAMED_SCHEMAS:
            return {name: self._copy(item, level) for name, item in value.items()}
        return value if key in _OF_PLAIN_VALUES else self._copy(value, level)

    def _reference(self, schema: Mapping[str, Any], level: int) -> Any:
        reference = schema["$ref"]
        level += reference in self._recursive
        if level > DEPTH:
            return False
        name = f"{self._numbers.setdefault(reference, len(self._numbers))}@{level}"
        if name not in self._made:
            self._made[name] = True  # until its turn comes
            self._todo.append((name, reference, level))
        rest = {key: self._value(key, value, level) for key, value in schema.items() if key != "$ref"}
        return {"$ref": f"#/$defs/{name}", **rest}


def _recursive(root: Mapping[str, Any], resolve: Resolve) -> set[str]:
    """The references that lead back to themselves."""
    leads_to: dict[str, set[str]] = {}
    todo = list(_references(root))
    while todo:
        reference = todo.pop()
        if reference not in leads_to:
            leads_to[reference] = set(_references(resolve(reference)))
            todo += leads_to[reference]
    return {one for one in leads_to if one in _reachable(leads_to[one], leads_to)}


def _reachable(start: set[str], leads_to: Mapping[str, set[str]]) -> set[str]:
    found, todo = set(start), list(start)
    while todo:
        new = leads_to[todo.pop()] - found
        found |= new
        todo += new
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item)
    elif isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for key, value in schema.items():
            if key in _OF_NAMED_SCHEMAS:
                yield from _references(list(value.values()))
            elif key not in _OF_PLAIN_VALUES and key not in _DEFINITIONS:
                yield from _references(value)
