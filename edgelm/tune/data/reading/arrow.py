"""Values of Arrow tables (Parquet) as they were before the table gave all rows one type.

A table's struct has the keys of all rows, and null where a row has none: those nulls are the container's, and go. Nulls
in lists and in maps were written, and stay; so do those inside JSON text, which has no type. A map is an object.
Dates, which readers of JSON make of texts, are texts again.
Source of the situation: trl#5118.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Restore = Callable[[Any], Any]
"""Takes a value of `to_pylist` and gives what the row said; None stays None."""


def restorer(kind: Any) -> Restore:
    """Return what restores values of the Arrow type `kind`."""
    from pyarrow import types

    if isinstance(kind, _json_type()):
        return _from_json
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return restorer(kind.value_type)
    if types.is_struct(kind):
        fields = {field.name: restorer(field.type) for field in kind}
        return lambda value: None if value is None else without_nulls(value, fields)
    if types.is_map(kind):
        return _map(restorer(kind.item_type))
    if any(check(kind) for check in _list_checks()):
        return listed(restorer(kind.value_type))
    if hasattr(kind, "storage_type"):
        return restorer(kind.storage_type)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return _decoded
    if types.is_temporal(kind) and not types.is_duration(kind):
        return lambda value: value.isoformat() if hasattr(value, "isoformat") else value
    return _from_decimal if types.is_decimal(kind) else _as_it_is


def without_nulls(value: Any, fields: dict[str, Restore]) -> dict[str, Any]:
    """Return a struct's fields, restored, without those that are null."""
    restored = ((name, fields[name](item) if name in fields else item) for name, item in value.items())
    return {name: item for name, item in restored if item is not None}


def listed(item: Restore) -> Restore:
    """Restores every item of a list."""
    return lambda value: None if value is None else [item(one) for one in value]


def _as_it_is(value: Any) -> Any:
    return value


def _decoded(value: Any) -> Any:
    """Text, which some writers leave unmarked; what is none stays as it is."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def _from_decimal(value: Any) -> Any:
    """A number as JSON has it."""
    return value if value is None else int(value) if value == value.to_integral_value() else float(value)


def _map(item: Restore) -> Restore:
    def restore(value: Any) -> Any:
        pairs = value.items() if isinstance(value, dict) else value
        return None if value is None else {str(key): item(inner) for key, inner in pairs}

    return restore


def _from_json(value: Any) -> Any:
    """What the text says; a text that is no JSON is itself."""
    if not isinstance(value, str | bytes):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _json_type() -> Any:
    import pyarrow

    # Before pyarrow 19 there is no such type.
    return getattr(pyarrow, "JsonType", ())


def _list_checks() -> list[Callable[[Any], bool]]:
    from pyarrow import types

    names = ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")
    return [getattr(types, name) for name in names if hasattr(types, name)]
