"""A report that a user may attach to an issue: JSON for programs, Markdown for people, nothing that names anybody."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelm.atomic import atomic_write
from edgelm.cli.output import say
from edgelm.errors import OutputError
from edgelm.machine.anonymous import anonymous


def write_report(path: Path, said: Mapping[str, Any]) -> None:
    """Write doctor's report to `path` as JSON and beside it as Markdown.

    Raises:
        OutputError: it cannot be written, or a file of another kind is in the way.
    """
    plain = json.loads(json.dumps(said, default=_plain))
    sections = [("Checks", _check_rows(plain["checks"]))]
    sections += [(name, rows) for name, rows in plain.get("metal", {}).get("tables", {}).items()]
    write_both(path, "edgelm doctor", plain, sections)


def write_both(
    path: Path, title: str, said: Mapping[str, Any], sections: Sequence[tuple[str, Sequence[Sequence[str]]]]
) -> None:
    """Write `said` as JSON and `sections` (a heading, then rows of cells, the first of them the header) as Markdown.

    Raises:
        OutputError: it cannot be written, or a file of another kind is in the way.
    """
    data, text = path.with_suffix(".json") if path.suffix == ".md" else path, path.with_suffix(".md")
    heading = f"# {title}\n"
    if (
        text.exists()
        and text != path
        and not text.read_text(encoding="utf-8", errors="replace").startswith(heading)
    ):
        raise OutputError(f"{text} exists already and is no such report", hint="choose another --output")
    atomic_write(data, json.dumps(anonymous(said), indent=2, ensure_ascii=False) + "\n")
    lines = [heading]
    for name, rows in sections:
        lines += [f"## {name}", "", *_table(anonymous(rows)), ""]
    atomic_write(text, "\n".join(lines))
    say(f"wrote {data} and {text}")


def _check_rows(checks: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = [["", "what", "found"]]
    for check in checks:
        found = check["value"] + (f" → {check['remedy']}" if check["remedy"] else "")
        rows.append([check["status"], check["name"], found])
        if check.get("raw"):
            rows.append(["", "said", check["raw"]])
    return rows


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells as Markdown has them: on one line, bars escaped."""
    cells = [[str(cell).replace("|", "\\|").replace("\n", "<br>") for cell in row] for row in rows]
    head, *rest = [f"| {' | '.join(row)} |" for row in cells]
    return [head, "|" + " --- |" * len(cells[0]), *rest]


def _plain(value: Any) -> Any:
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)
