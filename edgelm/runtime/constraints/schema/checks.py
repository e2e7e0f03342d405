"""Whether the values of a schema's keywords are ones that can be enforced: counts, bounds, numbers that a float64 holds.

The compiler computes with float64 and says little about what it cannot do; what it would get wrong is refused here, by name.
Knows no keyword that holds schemas.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from edgelm.errors import OptionError, UnsupportedError

LEAST = ("minItems", "minLength", "minProperties")
_MOST = ("maxItems", "maxLength", "maxProperties")
_COUNTS = (*LEAST, *_MOST)
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
LONGEST = 100_000
"""What may be required of one reply, in characters, items or properties: a context is not much longer."""
_EXACT = 1 << 53
_NUL = r"\u0000"
_OUTWARD = {"maximum": 1, "exclusiveMaximum": 1, "minimum": -1, "exclusiveMinimum": -1}
"""On which side a bound leaves numbers in."""
DEEPEST = 100
"""Levels of a schema: each takes several of Python's."""


def check_depth(schema: Any) -> None:
    """Refuse a document that is nested too deep to be walked.

    Raises:
        OptionError: it is.
    """
    level = [schema]
    for _ in range(2 * DEEPEST):
        level = [item for value in level for item in _inside(value)]
        if not level:
            return
    raise OptionError(f"the schema is nested deeper than {DEEPEST} levels", hint='put parts into "$defs"')


def check_values(schema: Mapping[str, Any], pointer: str) -> None:
    """Refuse values that keywords may not have, and those that would be enforced wrongly.

    Raises:
        OptionError: not what the keyword takes, or more than any reply can hold.
        UnsupportedError: a number that a float64 does not hold exactly.
    """
    for key in _COUNTS:
        if key in schema:
            _check_count(key, schema[key], pointer)
    for key in _BOUNDS:
        if key in schema:
            _check_bound(key, schema[key], pointer)
    for key in ("const", "enum"):
        for number in _numbers(schema.get(key)):
            _check_exact(key, number, pointer)
        if key in schema and _NUL in json.dumps(schema[key]).replace("\\\\", ""):
            raise UnsupportedError(
                f"the schema's {key} at {pointer} holds a NUL, which the compiler leaves out",
                hint="leave it out",
            )


def clamped(schema: Mapping[str, Any]) -> dict[str, int]:
    """Counts and bounds as the compiler takes them: JSON Schema admits counts of 3.0, and bounds beyond what it can count to.

    A bound that is further out than 2^53 is drawn in, which only leaves numbers out.
    """
    counts = {key: int(schema[key]) for key in _COUNTS if isinstance(schema.get(key), float)}
    counts |= {key: LONGEST for key in _MOST if key in schema and schema[key] > LONGEST}
    return counts | {key: sign * _EXACT for key, sign in _OUTWARD.items() if _is_far(schema.get(key), sign)}


def _is_far(value: Any, sign: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and sign * value > _EXACT


def _check_count(key: str, value: Any, pointer: str) -> None:
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not is_whole or value < 0:
        raise OptionError(f"the schema's {key} at {pointer} is {value!r}, expected a whole number >= 0")
    if key in LEAST and value > LONGEST:
        raise OptionError(f"the schema's {key} at {pointer} is {value:,}, expected at most {LONGEST:,}")


def _check_bound(key: str, value: Any, pointer: str) -> None:
    if isinstance(value, bool) and key.startswith("exclusive"):
        return  # draft 4 says so of minimum and maximum
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(f"the schema's {key} at {pointer} is {value!r}, expected a number")
    if key == "multipleOf" and value <= 0:
        raise OptionError(f"the schema's multipleOf at {pointer} is {value!r}, expected more than 0")
    if not _is_far(value, _OUTWARD.get(key, 0)):
        _check_exact(key, value, pointer)


def _check_exact(key: str, value: float, pointer: str) -> None:
    if abs(value) > _EXACT or not math.isfinite(value):
        raise UnsupportedError(
            f"the schema's {key} at {pointer} holds {value!r}, expected numbers up to 2^53 = {_EXACT:,}",
            hint="write the number as text",
        )


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    else:
        for item in _inside(value):
            yield from _numbers(item)


def _inside(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
