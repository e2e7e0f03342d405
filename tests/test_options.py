"""Settings are refused when they are built, and become flags."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import pytest

from edgelm.errors import OptionError
from edgelm.options import Options, option


@dataclass(frozen=True)
class Example(Options):
    heat: float = option(0.5, "how hot", ge=0, le=2)
    count: int | None = option(None, "how many", gt=0)
    kind: str = option("a", "which", choices=("a", "b"))
    loud: bool = option(False, "say more")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("heat", -0.1, ">= 0 and <= 2"),
        ("heat", float("nan"), ">= 0"),
        ("heat", float("inf"), "<= 2"),
        ("heat", "1", "expected float"),
        ("heat", True, "expected float"),
        ("count", 0, "> 0"),
        ("count", 1.5, "expected int"),
        ("kind", "c", "one of a, b"),
        ("loud", 1, "expected bool"),
    ],
)
def test_a_bad_value_is_named(field: str, value: Any, expected: str) -> None:
    with pytest.raises(OptionError, match=rf"^{field} is .*{expected}"):
        Example(**{field: value})


def test_bounds_are_inclusive_and_ints_are_floats() -> None:
    assert Example(heat=0).heat == 0
    assert Example(heat=2, count=1).count == 1


def test_flags_carry_types_help_and_only_what_was_said() -> None:
    parser = argparse.ArgumentParser()
    Example.add_flags(parser)
    arguments = parser.parse_args(["--heat", "1.5", "--loud"])
    assert Example.from_flags(arguments) == Example(heat=1.5, loud=True)
    assert "how hot (>= 0 and <= 2; default 0.5)" in parser.format_help().replace("\n", " ").replace(
        "  ", " "
    )
