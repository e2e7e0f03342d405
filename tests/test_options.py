"""Settings are refused when they are built, and become flags."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import pytest

from edgelm.cli.parsing.parser import Parser
from edgelm.errors import OptionError
from edgelm.options import Options, option


@dataclass(frozen=True)
class Example(Options):
    heat: float = option(0.5, "how hot", ge=0, le=2)
    count: int | None = option(None, "how many", gt=0)
    kind: str = option("a", "which", choices=("a", "b"))
    loud: bool = option(False, "say more")


@dataclass(frozen=True)
class Checked(Options):
    check: bool | str = option(True, "look again", choices=(True, False, "twice"))


@pytest.mark.parametrize(
    ("arguments", "check", "rest"),
    [
        ([], True, None),
        (["--check", "model"], True, "model"),
        (["--no-check", "model"], False, "model"),
        (["--check", "twice", "model"], "twice", "model"),
        (["model", "--check=twice"], "twice", "model"),
    ],
)
def test_a_switch_may_be_a_word_and_takes_no_other(arguments: list[str], check: Any, rest: Any) -> None:
    parser = Parser()
    parser.add_argument("model", nargs="?")
    Checked.add_flags(parser)
    parsed = parser.parse_args(arguments)
    assert (Checked.from_flags(parsed).check, parsed.model) == (check, rest)
    with pytest.raises(OptionError, match="one of True, False, twice"):
        Checked(check="thrice")


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
