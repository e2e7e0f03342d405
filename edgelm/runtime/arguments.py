"""Arguments of the Python API that are no settings: names, paths, types, weights. Refused by name, value and expectation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgelm.errors import OptionError
from edgelm.options import check_type, shorten

_DTYPES = ("float16", "bfloat16", "float32")


def check_flags(**flags: Any) -> None:
    """Refuse what is neither true nor false.

    Raises:
        OptionError: the first such flag.
    """
    for name, flag in flags.items():
        check_type(name, flag, bool)


def check_dtype(dtype: Any) -> None:
    """Refuse a type that parameters cannot have.

    Raises:
        OptionError: none of three, nor None.
    """
    if dtype is not None and not (isinstance(dtype, str) and dtype in _DTYPES):
        raise OptionError(f"dtype is {shorten(dtype)}, expected {', '.join(_DTYPES)} or None")


def several_names(name: str, said: Any) -> list[str | Path]:
    """Return one name or path, or several, as a list; None is none.

    Raises:
        OptionError: something else.
    """
    several = [said] if isinstance(said, str | Path) else [] if said is None else said
    if isinstance(several, bytes | Mapping) or not isinstance(several, Iterable):
        raise OptionError(f"{name} is {shorten(said)}, expected a name, a path, or several")
    found = list(several)
    for each in found:
        check_name(name, each)
    return found


def check_name(name: str, value: Any) -> None:
    """Refuse what names nothing.

    Raises:
        OptionError: neither text nor a path, or empty.
    """
    check_type(name, value, str, Path, wanted="a name or a path")
    if not str(value):
        raise OptionError(f"{name} is empty, expected a name or a path")


def check_weight(weight: Any) -> None:
    """Refuse what is no weight of an adapter.

    Raises:
        OptionError: no finite number.
    """
    check_type("weight", weight, int, float, wanted="a finite number")
    if not (isinstance(weight, int) or math.isfinite(weight)) or abs(weight) > 1e6:
        raise OptionError(f"weight is {weight!r}, expected a finite number")
