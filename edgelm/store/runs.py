"""Training runs in the store: what was trained on what, how it went, and the curves.

The run's directory is the truth about how to go on; this is what is listed and compared without opening it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edgelm.store.database import Database, Schema

SCHEMA = Schema(
    "runs",
    (
        """
        CREATE TABLE runs (
            name TEXT PRIMARY KEY,
            created TEXT NOT NULL,
            model TEXT NOT NULL,
            base_sha256 TEXT NOT NULL,
            data TEXT NOT NULL,
            data_sha256 TEXT NOT NULL,
            method TEXT NOT NULL,
            config TEXT NOT NULL,
            directory TEXT NOT NULL,
            status TEXT NOT NULL,
            step INTEGER NOT NULL DEFAULT 0,
            total_steps INTEGER,
            loss REAL,
            best_loss REAL,
            first_loss REAL,
            adapter TEXT,
            error TEXT
        );
        CREATE TABLE run_points (
            run TEXT NOT NULL REFERENCES runs (name) ON DELETE CASCADE,
            curve TEXT NOT NULL,
            step INTEGER NOT NULL,
            value REAL NOT NULL,
            PRIMARY KEY (run, curve, step)
        );
        """,
    ),
)

STATUSES = ("running", "stopped", "finished", "failed")


@dataclass(frozen=True)
class Run:
    """One row."""

    name: str
    created: str
    model: str
    base_sha256: str
    data: str
    data_sha256: str
    method: str
    config: dict[str, Any]
    directory: str
    status: str = "running"
    step: int = 0
    total_steps: int | None = None
    loss: float | None = None
    """Smoothed training loss."""
    best_loss: float | None = None
    """The lowest validation loss."""
    first_loss: float | None = None
    """The validation loss before the first step."""
    adapter: str | None = None
    error: str | None = None


class Runs:
    """The runs in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run: Run) -> None:
        """A new run; `created` is filled in where it is empty."""
        values = {**_row(run), "created": run.created or datetime.now(UTC).isoformat(timespec="seconds")}
        marks = ", ".join("?" * len(values))
        with self._database.transaction() as rows:
            rows.execute(f"INSERT INTO runs ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))

    def update(self, name: str, **changes: Any) -> None:
        """Change columns of a run."""
        _check_columns(changes)
        settings = ", ".join(f"{column} = ?" for column in changes)
        with self._database.transaction() as rows:
            rows.execute(f"UPDATE runs SET {settings} WHERE name = ?", (*changes.values(), name))

    def add_points(self, name: str, step: int, values: Mapping[str, float], **changes: Any) -> None:
        """Points of curves at one step, instead of what a run that was killed may have left there."""
        _check_columns(changes)
        settings = ", ".join(f"{column} = ?" for column in ("step", *changes))
        with self._database.transaction() as rows:
            rows.executemany(
                "INSERT OR REPLACE INTO run_points VALUES (?, ?, ?, ?)",
                [(name, curve, step, value) for curve, value in values.items() if value == value],
            )
            rows.execute(f"UPDATE runs SET {settings} WHERE name = ?", (step, *changes.values(), name))

    def forget_after(self, name: str, step: int) -> None:
        """Drop points beyond `step`, from which a run goes on."""
        with self._database.transaction() as rows:
            rows.execute("DELETE FROM run_points WHERE run = ? AND step > ?", (name, step))

    def all(self) -> list[Run]:
        """Newest first."""
        return [
            _run(row) for row in self._database.rows("SELECT * FROM runs ORDER BY created DESC, name DESC")
        ]

    def get(self, name: str) -> Run | None:
        """One run."""
        row = self._database.row("SELECT * FROM runs WHERE name = ?", name)
        return None if row is None else _run(row)

    def curve(self, name: str, curve: str) -> list[tuple[int, float]]:
        """(step, value) in order: "loss", "smoothed", "validation", "learning_rate", "grad_norm" or "tokens_per_s"."""
        query = "SELECT step, value FROM run_points WHERE run = ? AND curve = ? ORDER BY step"
        return [(row["step"], row["value"]) for row in self._database.rows(query, name, curve)]

    def delete(self, name: str) -> None:
        """A run and its curves."""
        with self._database.transaction() as rows:
            rows.execute("DELETE FROM runs WHERE name = ?", (name,))


_COLUMNS = frozenset(Run.__dataclass_fields__)


def _check_columns(changes: Mapping[str, Any]) -> None:
    """Names go into the statement itself."""
    unknown = changes.keys() - _COLUMNS
    if unknown:
        raise ValueError(f"runs have no columns {sorted(unknown)}")


def _row(run: Run) -> dict[str, Any]:
    return {**{name: getattr(run, name) for name in sorted(_COLUMNS)}, "config": json.dumps(run.config)}


def _run(row: Any) -> Run:
    return Run(**{**dict(row), "config": json.loads(row["config"])})
