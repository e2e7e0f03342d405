"""Formats of text as they are written here: within what readers take.

RFC 3339 admits the year 0, seconds of 60 and, for durations, numbers of any length; Python's `datetime`, and with it Pydantic,
takes none of these. Every narrowed text is of its format.
"""

from __future__ import annotations

from typing import Any

_DATE = "[12][0-9]{3}-[0-9]{2}-[0-9]{2}"
_TIME = "[0-9]{2}:[0-9]{2}:[0-5][0-9]([.][0-9]{1,6})?(Z|[+-][01][0-9]:[0-5][0-9])"
_PATTERNS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "duration": "^P([0-9]{1,3}D|[0-9]{1,2}W|([0-9]{1,3}D)?T([0-9]{1,2}H)?([0-9]{1,2}M)?([0-9]{1,2}S)?)$",
}


def narrowed(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema`, whose text of a format is one that readers take; one with a pattern of its own stays as it is."""
    pattern = _PATTERNS.get(schema["format"]) if isinstance(schema.get("format"), str) else None
    return schema if pattern is None or "pattern" in schema else {**schema, "pattern": pattern}
