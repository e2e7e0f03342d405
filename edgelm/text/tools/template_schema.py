"""Pydantic's JSON Schema as chat templates show it: whole, without references, and no longer than it must be."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


def for_template(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of `model` with every `$ref` replaced by what it names, and without titles.

    `additionalProperties: false` and a default of null go as well: templates show them as if they were arguments' values.

    Raises:
        RecursionError: a class that holds itself; the message is its name.
        PydanticUserError: a type that JSON has no word for.
    """
    schema = model.model_json_schema(schema_generator=_generator())
    return _plain(schema, schema.get("$defs", {}), ())


def _plain(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], inside: tuple[str, ...]
) -> dict[str, Any]:
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        if name in inside:
            raise RecursionError(name)
        inside = (*inside, name)
        schema = definitions[name] | {key: value for key, value in schema.items() if key != "$ref"}
    plain: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            plain[key] = {field: _plain(part, definitions, inside) for field, part in value.items()}
        elif key in _LISTS:
            plain[key] = [_plain(part, definitions, inside) for part in value]
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            plain[key] = _plain(value, definitions, inside)
        elif key not in ("title", "$defs") and (key, value) not in (
            ("additionalProperties", False),
            ("default", None),
        ):
            plain[key] = value
    return plain


@functools.cache
def _generator() -> Any:
    from pydantic.json_schema import GenerateJsonSchema

    class Quiet(GenerateJsonSchema):
        """Pydantic's generator, which leaves a default that JSON cannot say out without a warning."""

        ignored_warning_kinds = {"non-serializable-default", "skipped-choice"}  # noqa: RUF012 - as Pydantic has it

    return Quiet
