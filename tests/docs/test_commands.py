"""Every command line that README and docs show is one that the parsers take, and every page and file they link to is there."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest

from edgelm.cli.parsing.parser import Parser
from edgelm.cli.table import ALIASES, COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
LINE = re.compile(r"(?:    |\$ )?(?:[A-Z_]+=\S+ )?(?:\.venv/bin/)?(edgelm(?: .*)?)")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def command_lines() -> list[tuple[str, str]]:
    """Each page's name with a command line that stands in a block on a line of its own."""
    lines = []
    for page in PAGES:
        is_fenced = False
        for line in page.read_text(encoding="utf-8").splitlines():
            is_fenced ^= line.startswith("```")
            command = LINE.fullmatch(line)
            if command and (is_fenced or line.startswith("    ")):
                lines.append((page.name, command[1]))
    return lines


def parser_of(name: str) -> Parser:
    """The parser of one command."""
    (command,) = [command for command in COMMANDS if command.name == name]
    parser = Parser(prog=f"edgelm {name}")
    command.load().add_arguments(parser)
    return parser


def test_there_are_command_lines() -> None:
    assert len(command_lines()) > 60


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_a_command_line_is_taken(page: str, line: str) -> None:
    words = shlex.split(re.split(r"\s[|<>]{1,2}\s|\s&&\s", line)[0], comments=True)[1:]
    if not words or words[0].startswith("--"):
        assert words in ([], ["--web"])
        return
    name, *rest = words
    command, *before = ALIASES.get(name, (name,))
    # `pause|stop` stands for a command line with each.
    for given in itertools.product(*(word.split("|") for word in [*before, *rest])):
        parser_of(command).parse_args(given)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [
        link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()
    ]
    assert not missing
