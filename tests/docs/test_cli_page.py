"""docs/cli.md and the parsers say the same: every command, action and flag that is named exists, and none is left out."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from edgelm.cli.parsing.parser import USAGE_EXIT_CODE, Parser
from edgelm.cli.table import ALIASES, COMMANDS, CommandEntry

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def parser_of(command: CommandEntry) -> Parser:
    parser = Parser(prog=f"edgelm {command.name}")
    command.load().add_arguments(parser)
    return parser


def actions_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found.update(action.choices)
    return found


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    own = set(parser._option_string_actions)
    return own.union(*(flags_of(inner) for inner in actions_of(parser).values()))


PARSERS = {command.name: parser_of(command) for command in COMMANDS}
EVERY_FLAG = set().union(*(flags_of(parser) for parser in PARSERS.values())) | {
    "--help",
    "--version",
    "--web",
}


@pytest.mark.parametrize("name", [*PARSERS, *ALIASES])
def test_every_command_is_on_the_page(name: str) -> None:
    assert f"`edgelm {name}" in PAGE


@pytest.mark.parametrize("name", ["models", "adapters", "runs", "data", "quantize"])
def test_every_action_is_on_the_page(name: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `edgelm {name}")]
    named = set(re.findall(r"`([a-z]+)`", row)) | set(re.findall(rf"edgelm {name} ([a-z]+)", row))
    there = actions_of(PARSERS[name])
    assert named <= set(there)
    said = {id(there[action]) for action in named}
    assert {action for action, parser in there.items() if id(parser) not in said} == set()


def test_every_flag_on_the_page_exists() -> None:
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE))
    assert flags <= EVERY_FLAG, flags - EVERY_FLAG


@pytest.mark.parametrize("line", re.findall(r"`(edgelm [a-z]+[^`]*)`", PAGE))
def test_every_command_line_on_the_page_exists(line: str) -> None:
    name, *rest = line.split()[1:]
    command, *_ = ALIASES.get(name, (name,))
    known = flags_of(PARSERS[command])
    assert all(word.split("=")[0] in known for word in rest if word.startswith("-"))


def test_variables_on_the_page_are_all_of_edgelm() -> None:
    named = set(re.findall(r"`(EDGELM_[A-Z_]+)`", PAGE))
    sources = [*ROOT.glob("edgelm/**/*.py"), *ROOT.glob("tui/**/*.py"), *ROOT.glob("converters/**/*.py")]
    used = {
        name
        for path in sources
        for name in re.findall(r"environ[^\n]*[\"'](EDGELM_[A-Z_]+)[\"']", path.read_text(encoding="utf-8"))
    }
    assert used == named


def test_exit_codes_are_those_of_the_front_door() -> None:
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)]
    assert codes == [0, 1, USAGE_EXIT_CODE, 130]
