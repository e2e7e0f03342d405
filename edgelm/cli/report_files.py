"""A report that may be attached to an issue: JSON for programs, Markdown for people, nothing that names anybody."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelm.atomic import atomic_write
from edgelm.cli.parsing.actions import check_file
from edgelm.cli.show.output import say
from edgelm.machine.anonymous import anonymous

Rows = Sequence[Sequence[str]]
"""Cells; the first row is the header."""


def report_files(path: Path) -> tuple[Path, Path]:
    """Name the two files of a report that is asked for as `path`: JSON, then Markdown."""
    return path.with_suffix(".json") if path.suffix == ".md" else path, path.with_suffix(".md")


def check_report(path: Path | None, arguments: argparse.Namespace) -> None:
    """Refuse files that are there already, before anything is measured.

    Raises:
        OutputError: one is, and `--force` was not given.
    """
    for file in report_files(path) if path is not None else ():
        check_file(file, arguments)


def write_both(path: Path, title: str, said: Mapping[str, Any], sections: Sequence[tuple[str, Rows]]) -> None:
    """Write `said` as JSON and `sections` (a heading, then rows of cells, the first of them the header) as Markdown.

    Raises:
        OutputError: it cannot be written.
    """
    data, text = report_files(path)
    atomic_write(data, json.dumps(anonymous(said), indent=2, ensure_ascii=False) + "\n")
    lines = [f"# {title}\n"]
    for name, rows in sections:
        lines += [f"## {name}", "", *_table(anonymous(rows)), ""]
    atomic_write(text, "\n".join(lines))
    say(f"wrote {data} and {text}")


def _table(rows: Rows) -> list[str]:
    """Cells as Markdown has them: on one line, bars escaped."""
    cells = [[str(cell).replace("|", "\\|").replace("\n", "<br>") for cell in row] for row in rows]
    head, *rest = [f"| {' | '.join(row)} |" for row in cells]
    return [head, "|" + " --- |" * len(cells[0]), *rest]
