"""What of JSON Schema can be enforced: every keyword is honoured, an annotation, or refused with its place.

The compiler below (llguidance) passes over keywords that it does not know, misspelt ones included; so a schema
is walked here first, through its references. `prepare` also puts right what the compiler is too strict or too
lax about. Knows nothing of tokens.

Semantics: JSON Schema 2020-12, and the earlier drafts where they say the same.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from edgelm.errors import OptionError, UnsupportedError
from edgelm.runtime.constraints.schema.cases import Cases
from edgelm.runtime.constraints.schema.checks import check_values, clamped
from edgelm.runtime.constraints.schema.formats import check_format, narrowed
from edgelm.runtime.constraints.schema.names import spelt_out
from edgelm.runtime.constraints.schema.recursion import unrolled
from edgelm.runtime.constraints.schema.tags import with_tags

Schema = Mapping[str, Any] | bool

_OF_SCHEMAS = {"anyOf", "oneOf", "allOf", "prefixItems"}
_OF_NAMED_SCHEMAS = {"properties", "patternProperties"}
_OF_A_SCHEMA = {"items", "additionalItems", "additionalProperties"}
_ENFORCED = (
    _OF_SCHEMAS
    | _OF_NAMED_SCHEMAS
    | _OF_A_SCHEMA
    | {"$ref", "const", "enum", "type", "required", "pattern", "format", "multipleOf"}
    | {"minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
)
_ANNOTATIONS = (
    {"$schema", "$id", "id", "$comment", "$defs", "definitions", "$anchor", "$vocabulary"}
    | {"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly"}
    | {"contentMediaType", "contentEncoding", "contentSchema", "discriminator"}
)
_REFUSED = {
    "not": "say what is allowed instead",
    "if": "write the cases as anyOf",
    "then": "write the cases as anyOf",
    "else": "write the cases as anyOf",
    "uniqueItems": "leave it out and remove duplicates afterwards",
    "contains": "use prefixItems for what must be there",
    "minContains": "use prefixItems for what must be there",
    "maxContains": "use prefixItems for what must be there",
    "propertyNames": "use patternProperties with additionalProperties false",
    "dependencies": "write the cases as anyOf",
    "dependentRequired": "write the cases as anyOf",
    "dependentSchemas": "write the cases as anyOf",
    "unevaluatedProperties": "use additionalProperties",
    "unevaluatedItems": "use items",
    "nullable": 'JSON Schema says {"type": ["string", "null"]}',
    "$dynamicRef": "use $ref",
    "$dynamicAnchor": "use $ref",
    "$recursiveRef": "use $ref",
    "$recursiveAnchor": "use $ref",
}
_SPENT = {"uniqueItems", "discriminator"}
"""Not for the compiler: the first is false here; with the second its grammars double at each level of a recursion."""


def prepare(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return `schema` checked, and in the form that the compiler takes.

    An object that lists its properties and says nothing of others gets none: with the standard's default a
    model may go on inventing properties for ever. Every output is valid by the schema as given.

    Raises:
        UnsupportedError: a keyword that cannot be enforced; the message names it and its JSON pointer.
        OptionError: a reference that leads nowhere, a schema that nothing finite can satisfy.
    """
    document = schema
    schema = spelt_out(document, lambda to: resolve(document, to, "#"))
    for pointer, part in _walk(schema):
        _check_keywords(part, pointer)
        check_values(part, pointer)
        check_format(part.get("format"), pointer)
        _check_property_count(part, pointer)
    given = schema
    schema = with_tags(
        schema,
        lambda root: (part for _, part in _walk(root)),
        lambda root, target: resolve(root, target, "#"),
    )
    if not _Ends(schema).of(schema):
        raise OptionError(
            "nothing finite matches the schema: what it requires is false, or requires itself in turn",
            hint="make a recursive property optional, or let the array be empty",
        )
    closes = not merges(schema)
    _check_cases(schema, given, closes=closes)
    prepared = _rewritten(schema, closes=closes)
    assert isinstance(prepared, dict)
    return prepared


def merges(schema: Mapping[str, Any]) -> bool:
    """Return whether somewhere in the document several schemas say together what one value may be."""
    return any(_merges(part) for _, part in _walk(schema))


def bounded(prepared: Mapping[str, Any]) -> dict[str, Any]:
    """Return `prepared` with every recursion at most `recursion.DEPTH` deep."""

    def follow(reference: Any) -> Any:
        return resolve(prepared, reference, "#")

    return unrolled(prepared, follow, lambda document, part: _Ends(document).of(part))


def resolve(root: Mapping[str, Any], reference: Any, pointer: str) -> Any:
    """Return the schema that `reference`, found at `pointer`, leads to.

    Raises:
        UnsupportedError: it leads out of the document.
        OptionError: it leads nowhere.
    """
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise UnsupportedError(
            f"$ref at {pointer} is {reference!r}, expected a place in the same schema",
            hint='copy the other schema into "$defs" and refer to "#/$defs/NAME"',
        )
    target: Any = root
    for part in reference.split("/")[1:]:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and key.isdigit() and int(key) < len(target):
            target = target[int(key)]
        elif isinstance(target, Mapping) and key in target:
            target = target[key]
        else:
            raise OptionError(f"$ref at {pointer} is {reference!r}, which is not in the schema")
    return target


def locate(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every schema inside `schema` that is used, with its JSON pointer; the innermost first."""
    yield from sorted(_walk(schema), key=lambda item: -item[0].count("/"))


def _walk(root: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Schemas in use, each once: `$defs` are entered through references only."""
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [("#", root)]
    while todo:
        pointer, schema = todo.pop()
        if isinstance(schema, bool) or id(schema) in seen:
            continue
        if not isinstance(schema, Mapping):
            raise OptionError(f"the schema at {pointer} is {schema!r}, expected an object, true or false")
        seen.add(id(schema))
        yield pointer, schema
        todo += reversed(list(_children(schema, pointer)))
        if "$ref" in schema:
            todo.append((schema["$ref"], resolve(root, schema["$ref"], pointer)))


def _children(schema: Mapping[str, Any], pointer: str) -> Iterator[tuple[str, Any]]:
    for key, value in schema.items():
        here = f"{pointer}/{key}"
        if key in _OF_SCHEMAS or (key == "items" and isinstance(value, list)):
            _expect(isinstance(value, list), here, value, "a list of schemas")
            yield from ((f"{here}/{i}", item) for i, item in enumerate(value))
        elif key in _OF_NAMED_SCHEMAS:
            _expect(isinstance(value, Mapping), here, value, "an object of schemas")
            yield from ((f"{here}/{name}", item) for name, item in value.items())
        elif key in _OF_A_SCHEMA:
            yield here, value


def _expect(holds: bool, pointer: str, value: Any, wanted: str) -> None:
    if not holds:
        raise OptionError(f"the schema's {pointer} is {value!r}, expected {wanted}")


def _check_keywords(schema: Mapping[str, Any], pointer: str) -> None:
    for key, value in schema.items():
        if key in _ENFORCED or key in _ANNOTATIONS or key.startswith("x-"):
            continue
        if key == "uniqueItems" and value is False:
            continue
        if key in _REFUSED:
            raise UnsupportedError(
                f"the schema's keyword {key!r} at {pointer} cannot be enforced", hint=_REFUSED[key]
            )
        near = difflib.get_close_matches(key, _ENFORCED, n=1)
        raise UnsupportedError(
            f"the schema's {key!r} at {pointer} is not a keyword of JSON Schema",
            hint=f"did you mean {near[0]}?" if near else "name it x-… if it is a note of your own",
        )


def _check_property_count(schema: Mapping[str, Any], pointer: str) -> None:
    """Names outside `properties` may come twice, so only required ones count for certain."""
    least, required = schema.get("minProperties", 0), schema.get("required", [])
    if isinstance(least, int) and isinstance(required, list) and least > len(set(required)):
        raise UnsupportedError(
            f"the schema's minProperties at {pointer} is {least}, expected at most the {len(set(required))}"
            " required properties: that other names differ cannot be enforced",
            hint="list the properties as required",
        )


def _merges(schema: Mapping[str, Any]) -> bool:
    """Whether several schemas say together what one object may hold."""
    if len(schema.get("allOf", [])) > 1:
        return True
    combines = {"allOf", "anyOf", "oneOf", "$ref"} & schema.keys()
    return len(combines) > 1 or bool(combines and {"properties", "required"} & schema.keys())


def _check_cases(made: Mapping[str, Any], given: Mapping[str, Any], *, closes: bool) -> None:
    """Refuse a `oneOf` of which a reply might match two cases."""
    parts = dict(_walk(given))
    cases = Cases(
        lambda to: resolve(made, to, "oneOf"), lambda to: resolve(given, to, "oneOf"), closes=closes
    )
    for pointer, part in _walk(made):
        if "oneOf" in part and not cases.are_apart(part["oneOf"], parts[pointer]["oneOf"]):
            raise UnsupportedError(
                f"the schema at {pointer} cannot be enforced: its oneOf has cases that are not told apart",
                hint="use anyOf, or give each case a required property with a const of its own",
            )


def _rewritten(schema: Any, *, closes: bool) -> Any:
    """A copy with objects closed, `oneOf` (whose cases are apart) as `anyOf`, and what says nothing left out."""
    if not isinstance(schema, Mapping):
        return schema

    def again(value: Any) -> Any:
        return _rewritten(value, closes=closes)

    copy: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _OF_SCHEMAS or (key == "items" and isinstance(value, list)):
            copy[key] = [again(item) for item in value]
        elif key in _OF_NAMED_SCHEMAS | {"$defs", "definitions"}:
            copy[key] = {name: again(item) for name, item in value.items()}
        elif key in _OF_A_SCHEMA:
            copy[key] = again(value)
        elif key not in _SPENT:
            copy[key] = value
    copy |= clamped(schema)
    if "oneOf" in copy and "anyOf" in copy:
        copy["allOf"] = [*copy.get("allOf", []), {"anyOf": copy.pop("oneOf")}]
    elif "oneOf" in copy:
        copy["anyOf"] = copy.pop("oneOf")
    if closes and _lists_all(copy):
        copy.setdefault("additionalProperties", False)
    return narrowed(copy)


def _lists_all(schema: Mapping[str, Any]) -> bool:
    named = schema.get("properties")
    return named is not None and all(name in named for name in _names(schema.get("required")))


class _Ends:
    """Whether a schema has a finite value: the least fixed point over its references."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._asking: set[int] = set()
        self._known: set[int] = set()  # those that have one

    def of(self, schema: Any) -> bool:
        if not isinstance(schema, Mapping):
            return schema is not False
        if id(schema) in self._known:
            return True
        if id(schema) in self._asking:
            return False
        self._asking.add(id(schema))
        ends = all(self._parts(schema))
        self._asking.discard(id(schema))
        if ends:
            self._known.add(id(schema))
        return ends

    def _parts(self, schema: Mapping[str, Any]) -> Iterator[bool]:
        if "$ref" in schema:
            yield self.of(resolve(self._root, schema["$ref"], "#"))
        for key in {"anyOf", "oneOf"} & schema.keys():
            yield any(self.of(item) for item in schema[key])
        yield all(self.of(item) for item in schema.get("allOf", ()))
        types = schema.get("type")
        if types == "object":
            yield all(self._property(schema, name) for name in _names(schema.get("required", ())))
        if types == "array":
            yield self._array(schema)

    def _property(self, schema: Mapping[str, Any], name: Any) -> bool:
        named = schema.get("properties", {})
        if name in named:
            return self.of(named[name])
        patterns = schema.get("patternProperties", {})
        if patterns and any(_may_match(pattern, name) for pattern in patterns):
            return True
        return self.of(schema.get("additionalProperties", True))

    def _array(self, schema: Mapping[str, Any]) -> bool:
        least, items, first = (
            schema.get("minItems", 0),
            schema.get("items", True),
            schema.get("prefixItems", []),
        )
        if isinstance(items, list):
            first, items = items, schema.get("additionalItems", True)
        if not isinstance(least, int):  # the compiler says what is wrong
            return True
        return all(self.of(item) for item in [*first[:least], *[items][: max(0, least - len(first))]])


def _names(required: Any) -> list[Any]:
    """The names of the required properties; what is no list, the compiler refuses."""
    return required if isinstance(required, list) else []


def _may_match(pattern: str, name: Any) -> bool:
    """Whether a pattern finds something in a name; the compiler knows more than Python's `re`, and decides."""
    try:
        return re.search(pattern, str(name)) is not None
    except re.error:
        return True
