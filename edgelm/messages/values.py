"""Values of a message's fields, checked one by one; an error names the field and says what is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgelm.errors import OptionError


class MessageError(OptionError):
    """A field of a message or of a tool is not what it should be.

    Attributes:
        field: where it is, such as `messages[2].content`; empty where it is the whole.
        reason: what is there and what was expected.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.field, self.reason))


def read_list(value: Any, field: str) -> list[Any]:
    """Return `value` as a list; it may be the JSON text of one, as a CSV cell holds it.

    Raises:
        MessageError: something else.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise MessageError(field, f"not a valid JSON list: {error}") from None
    if not isinstance(value, (list, tuple)):
        raise MessageError(field, f"{describe(value)}, expected a list")
    return list(value)


def read_object(value: Any, field: str, expected: str = "an object") -> Mapping[str, Any]:
    """Return `value` as an object; it may be the JSON text of one, as tables hold objects of different keys.

    Raises:
        MessageError: something else.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise MessageError(field, f"not a valid JSON object: {error}") from None
    if not isinstance(value, Mapping):
        raise MessageError(field, f"{describe(value)}, expected {expected}")
    return value


def read_text(value: Any, field: str) -> str:
    """Return `value` if it is text.

    Raises:
        MessageError: something else, or not valid Unicode.
    """
    if not isinstance(value, str):
        raise MessageError(field, f"{describe(value)}, expected text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise MessageError(
            field, f"character {error.start} is half of a surrogate pair, not valid Unicode"
        ) from None
    return value


def describe(value: Any) -> str:
    """Describe a value in a few words: "null", "a list of 3", "the number 7"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value:g}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return repr(value if len(value) <= 30 else value[:29] + "…")
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"
