"""What a docstring says of a function and of each of its parameters.

Reads Google's, NumPy's and Sphinx's (`:param name:`) styles. Knows nothing about types.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

_GOOGLE = re.compile(r"^(?:Args|Arguments|Parameters|Params):\s*$")
_UNDERLINE = re.compile(r"^-{3,}\s*$")
_SECTION = re.compile(r"^(?:[A-Z][A-Za-z ]*:\s*$|:\w+.*:)")
_ENTRY = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY_ENTRY = re.compile(r"^\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")
_SPHINX = re.compile(r"^:param\s+(?:[^:]*\s)?\*{0,2}(\w+):\s*(.*)$")


def parse_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return `(what it does, {parameter: what it is})` of a docstring as `inspect.getdoc` returns it."""
    lines = text.splitlines()
    summary: list[str] = []
    for at, line in enumerate(lines):
        if _starts_section(lines, at):
            break
        summary.append(line)
    return _join(summary), dict(_parameters(lines))


def _starts_section(lines: list[str], at: int) -> bool:
    followed = at + 1 < len(lines) and bool(_UNDERLINE.match(lines[at + 1]))
    return bool(_SECTION.match(lines[at])) or followed


def _parameters(lines: list[str]) -> Iterator[tuple[str, str]]:
    for at, line in enumerate(lines):
        if _GOOGLE.match(line):
            yield from _entries(_block(lines[at + 1 :]), _google_entry)
        elif line.strip() in ("Parameters", "Arguments") and _starts_section(lines, at):
            yield from _entries(_numpy_block(lines[at + 2 :]), _numpy_entry)
        elif match := _SPHINX.match(line):
            more = _block(lines[at + 1 :]) if at + 1 < len(lines) and lines[at + 1].startswith(" ") else []
            yield match[1], _join([match[2], *more])


def _block(lines: list[str]) -> list[str]:
    """The indented lines that come next, without their indentation."""
    end = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith(" ")), len(lines))
    return textwrap.dedent("\n".join(lines[:end])).splitlines()


def _numpy_block(lines: list[str]) -> list[str]:
    end = next((i for i in range(len(lines)) if _starts_section(lines, i)), len(lines))
    return lines[:end]


def _google_entry(line: str) -> tuple[list[str], str] | None:
    match = _ENTRY.match(line)
    return ([match[1]], match[2]) if match else None


def _numpy_entry(line: str) -> tuple[list[str], str] | None:
    match = _NUMPY_ENTRY.match(line)
    return ([name.strip() for name in match[1].split(",")], "") if match else None


def _entries(lines: list[str], read: object) -> Iterator[tuple[str, str]]:
    """Entries begin at the margin; what is indented goes on with the one before."""
    assert callable(read)
    names: list[str] = []
    texts: list[str] = []
    for line in lines:
        entry = read(line) if line[:1].strip() else None
        if entry is None:
            texts.append(line)
            continue
        yield from ((name, _join(texts)) for name in names)
        names, texts = entry[0], [entry[1]]
    yield from ((name, _join(texts)) for name in names)


def _join(lines: list[str]) -> str:
    """Lines as one text: paragraphs stay, line breaks inside them go."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
