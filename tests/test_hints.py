"""A hint that prints a command quotes what it fills in: a folder may have a space in its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLAIN = {
    # Names that `check_name` let through, Hub ids, and words of our own.
    "repo", "listing.repo", "chosen", "folder.name", "self.name", "session.folder.name", "self.folder.name",
    "DEMO", "other", "_one(other)", "kind",
    "stopped.hint", "server.address", "server.pid",
    "' '.join(map(str, numbers))",  # of chats
    "used",  # flags whose values are quoted where they are put together
}  # fmt: skip


def fillings(source: str) -> Iterator[tuple[int, str]]:
    """(line, expression) of what is filled into hints with a command, unquoted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "hint":
            texts = [inner for inner in ast.walk(node.value) if isinstance(inner, ast.JoinedStr)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
            texts = [inner for inner in ast.walk(node) if isinstance(inner, ast.JoinedStr)]
        else:
            continue
        for text in texts:
            said = "".join(part.value for part in text.values if isinstance(part, ast.Constant))
            if "edgelm " not in said:
                continue
            for part in text.values:
                if isinstance(part, ast.FormattedValue) and not ast.unparse(part.value).startswith(
                    "shlex.quote("
                ):
                    yield part.lineno, ast.unparse(part.value)


@pytest.mark.slow
def test_commands_in_hints_are_quoted() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {expression}"
        for folder in ("edgelm", "tui", "converters")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, expression in fillings(path.read_text(encoding="utf-8"))
        if expression not in PLAIN
    ]
    assert found == []


def test_an_unquoted_one_is_found() -> None:
    assert list(fillings('raise E("x", hint=f"edgelm convert {path}")')) == [(1, "path")]
    assert not list(fillings('raise E("x", hint=f"edgelm convert {shlex.quote(path)}")'))
