"""A report that a user may attach to an issue: JSON for programs, Markdown for people, nothing that names anybody."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelm.cli.report_files import write_both


def write_report(path: Path, said: Mapping[str, Any]) -> None:
    """Write doctor's report to `path` as JSON and beside it as Markdown.

    Raises:
        OutputError: it cannot be written.
    """
    plain = json.loads(json.dumps(said, default=_plain))
    sections = [("Checks", _check_rows(plain["checks"]))]
    sections += [(name, rows) for name, rows in plain.get("metal", {}).get("tables", {}).items()]
    write_both(path, "edgelm doctor", plain, sections)


def _check_rows(checks: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = [["", "what", "found"]]
    for check in checks:
        found = check["value"] + (f" → {check['remedy']}" if check["remedy"] else "")
        rows.append([check["status"], check["name"], found])
        if check.get("raw"):
            rows.append(["", "said", check["raw"]])
    return rows


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)
