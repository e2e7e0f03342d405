"""Labelled facts, nested ones indented: never a Python dictionary. Knows no command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def fact_lines(facts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """`name  value` lines; what is not known is left out, what is nested is indented, lists are joined with commas."""
    known = {str(key): value for key, value in facts.items() if value not in (None, "", {}, [], ())}
    width = max((len(key) for key, value in known.items() if not isinstance(value, Mapping)), default=0)
    for key, value in known.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}"
            yield from fact_lines(value, indent + "  ")
        else:
            yield f"{indent}{key:<{width}}  {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_shown(item)}" for key, item in value.items() if item is not None)
    return str(value)
