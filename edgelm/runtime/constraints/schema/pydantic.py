"""The JSON Schema of a Pydantic model such that Pydantic takes every reply: what its own schemas leave out is said here.

Pydantic's schemas describe more than its validators take: any text for a Decimal, any key for `dict[int, …]`, an offset for a
`NaiveDatetime`, any scheme for an `HttpUrl`. Each is narrowed to texts that are taken; what has no such form is refused by
name. Imported only where a Pydantic class was given.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Any

from pydantic import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from edgelm.errors import OptionError, UnsupportedError
from edgelm.runtime.constraints.schema.formats import BASE64_URL, CLOCK, YEARS, days_of, url_pattern

_NUMBER_KEYS = {
    "integer": "^(0|-?[1-9][0-9]{0,14})$",
    "number": "^-?(0|[1-9][0-9]{0,14})([.][0-9]{1,6})?$",
    "boolean": "^(true|false)$",
}
_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_LARGEST = 1e15
_COMPLEX = "^-?[0-9]{1,12}([.][0-9]{1,6})?[+-][0-9]{1,12}([.][0-9]{1,6})?j$"


def schema_of(model: Any) -> dict[str, Any]:
    """Return the schema of replies that `model`, a Pydantic class, takes.

    Raises:
        OptionError: Pydantic has no schema for it.
        UnsupportedError: a field that no text can be made for, named.
    """
    try:
        found: dict[str, Any] = model.model_json_schema(schema_generator=ReplySchema)
    except PydanticUserError as error:
        reason = str(error).partition("\n")[0]
        raise OptionError(f"{model.__name__} has no JSON schema: {reason}") from error
    return found


class ReplySchema(GenerateJsonSchema):
    """Pydantic's generator, narrowed to what its validators take."""

    def decimal_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a number: texts would need a pattern that JSON's numbers have already."""
        found = super().decimal_schema(schema)
        number: dict[str, Any] = dict(found.get("anyOf", [{"type": "number"}])[0])
        if not _BOUNDS & number.keys():
            number |= {"minimum": -_LARGEST, "maximum": _LARGEST}
        places, digits = schema.get("decimal_places"), schema.get("max_digits")
        if places is None and digits is None:
            return number
        places = places or 0
        step = 10.0**-places
        if digits is not None:
            most = float(10 ** max(0, digits - places)) - step
            number["maximum"] = min(most, number.get("maximum", most))
            number["minimum"] = max(-most, number.get("minimum", -most))
        return {**number, "type": "integer"} if places == 0 else {"multipleOf": step, **number}

    def float_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a number; one that must be finite is, since JSON's may be larger than a float."""
        found = super().float_schema(schema)
        if schema.get("allow_inf_nan", self._config.config_dict.get("allow_inf_nan", True)):
            return found
        return found if _BOUNDS & found.keys() else {**found, "minimum": -_LARGEST, "maximum": _LARGEST}

    def bytes_schema(self, schema: Any) -> JsonSchemaValue:
        """Return the text whose UTF-8 is taken, or which is in the encoding that the model's settings name."""
        found = super().bytes_schema(schema)
        found.pop("format", None)
        how = self._config.val_json_bytes
        counts = ("minLength" in found, "maxLength" in found)
        if how == "utf8":
            return {**found, "pattern": "^[ -~]*$"} if any(counts) else found
        if any(counts):
            raise UnsupportedError(f"the length of bytes in {how} cannot be enforced", hint="leave it out")
        return {**found, "pattern": BASE64_URL if how == "base64" else "^([0-9a-f]{2})*$"}

    def date_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a date, within the bounds that the field names."""
        return _between(super().date_schema(schema), schema, "")

    def datetime_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a time on a day, with an offset unless the field wants none."""
        found = super().datetime_schema(schema)
        if found.get("type") != "string":
            return found
        if schema.get("tz_constraint") == "naive":
            found = {"type": "string", "pattern": f"^{days_of(*YEARS)}T{CLOCK}$"}
        elif isinstance(schema.get("tz_constraint"), int):
            raise UnsupportedError("a time zone of its own cannot be enforced", hint="use AwareDatetime")
        return _between(found, schema, f"T{CLOCK}" + ("" if "format" not in found else "Z"))

    def url_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a URL of one of the schemes that the field admits."""
        return self._url(super().url_schema(schema), schema)

    def multi_host_url_schema(self, schema: Any) -> JsonSchemaValue:
        """Return the same with one host."""
        return self._url(super().multi_host_url_schema(schema), schema)

    def _url(self, found: JsonSchemaValue, schema: Any) -> JsonSchemaValue:
        schemes = schema.get("allowed_schemes")
        return {"type": "string", "pattern": url_pattern(schemes)} if schemes else found

    def complex_schema(self, schema: Any) -> JsonSchemaValue:
        """Return the schema of a complex number as Python writes it: `1.5-2j`."""
        found = super().complex_schema(schema)
        return {"type": "string", "pattern": _COMPLEX} if found.get("type") == "string" else found

    def set_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a list; Pydantic drops what is there twice, which matters only to a least size."""
        return _without_unique(super().set_schema(schema))

    def frozenset_schema(self, schema: Any) -> JsonSchemaValue:
        """Return the same."""
        return _without_unique(super().frozenset_schema(schema))

    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        """Return an object whose names are texts of the keys' type."""
        found = super().dict_schema(schema)
        if "patternProperties" in found:
            return {**found, "additionalProperties": False}
        if "propertyNames" in found or "keys_schema" not in schema:
            return found
        keys = self.generate_inner(schema["keys_schema"])
        pattern = _NUMBER_KEYS.get(str(keys.get("type")))
        names = {"pattern": pattern} if pattern else {key: keys[key] for key in ("format",) if key in keys}
        return {**found, "propertyNames": names} if names else found

    def tagged_union_schema(self, schema: Any) -> JsonSchemaValue:
        """Tell the cases apart by a field's value; where a function does that, any of them is allowed."""
        plain = [tag for tag in schema["choices"] if isinstance(tag, Enum) and not isinstance(tag, str | int)]
        if plain:
            raise UnsupportedError(
                f"a union told apart by {plain[0]} takes no JSON in Pydantic",
                hint=f"class {type(plain[0]).__name__}(str, Enum)",
            )
        found = super().tagged_union_schema(schema)
        if callable(schema["discriminator"]) and "oneOf" in found:
            found["anyOf"] = found.pop("oneOf")
        return found

    def json_schema(self, schema: Any) -> JsonSchemaValue:
        """Refuse JSON inside text."""
        raise UnsupportedError(
            "JSON inside text (Pydantic's Json) cannot be enforced", hint="give the field the type itself"
        )

    def is_subclass_schema(self, schema: Any) -> JsonSchemaValue:
        """Refuse classes, which JSON has no word for."""
        raise UnsupportedError("a field whose value is a class has no JSON", hint="name the class as text")


def _without_unique(found: JsonSchemaValue) -> JsonSchemaValue:
    if found.get("minItems", 0) < 2:
        found.pop("uniqueItems", None)
    return found


def _between(found: JsonSchemaValue, schema: Any, clock: str) -> JsonSchemaValue:
    """`found` within whole years between the field's bounds."""
    first, last = YEARS
    now = datetime.now(UTC).year
    bounds = [schema.get(key) for key in ("gt", "ge")], [schema.get(key) for key in ("lt", "le")]
    lows = [bound.year + 1 for bound in bounds[0] if bound is not None]
    highs = [bound.year - 1 for bound in bounds[1] if bound is not None]
    lows += [now + 1] if schema.get("now_op") == "future" else []
    highs += [now - 1] if schema.get("now_op") == "past" else []
    if not (lows or highs):
        return found
    first, last = max([first, *lows]), min([last, *highs])
    if first > last:
        raise UnsupportedError(
            "bounds of dates that hold no whole year cannot be enforced",
            hint="widen them, or check the reply",
        )
    return {"type": "string", "pattern": f"^{days_of(first, last)}{clock}$"}
