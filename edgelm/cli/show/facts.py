"""Labelled facts: aligned on a terminal, nested ones indented; in a pipe, as tables are, label and value with a tab between.

Never a Python dictionary. Knows no command.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any


def fact_lines(facts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Lay out `name  value` lines; what is not known is left out, what is nested is indented, lists are joined with commas.

    In a pipe a nested fact has the names of what it stands in before its own, with dots between.
    """
    return _piped(facts) if is_piped() else _aligned(facts, indent)


def labelled(facts: Mapping[str, Any] | list[tuple[str, Any]]) -> Iterator[str]:
    """Show facts whose labels may come more than once, none of them nested; every one is shown."""
    pairs = list(facts.items() if isinstance(facts, Mapping) else facts)
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        yield f"{name}\t{_on_one_line(value)}" if is_piped() else f"{name:<{width}}  {_shown(value)}"


def is_piped() -> bool:
    """Tell whether stdout is read by a program."""
    return not sys.stdout.isatty()


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in facts.items() if value not in (None, "", {}, [], ())}


def _aligned(facts: Mapping[str, Any], indent: str) -> Iterator[str]:
    known = _known(facts)
    width = max((len(key) for key, value in known.items() if not isinstance(value, Mapping)), default=0)
    for key, value in known.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}"
            yield from _aligned(value, indent + "  ")
        else:
            yield f"{indent}{key:<{width}}  {_shown(value)}"


def _piped(facts: Mapping[str, Any], within: str = "") -> Iterator[str]:
    for key, value in _known(facts).items():
        if isinstance(value, Mapping):
            yield from _piped(value, f"{within}{key}.")
        else:
            yield f"{within}{key}\t{_on_one_line(value)}"


def _on_one_line(value: Any) -> str:
    return " ".join(_shown(value).split())


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_shown(item)}" for key, item in value.items() if item is not None)
    return str(value)
