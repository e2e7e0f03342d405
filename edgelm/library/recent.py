"""Which models were used, and when: the one to open when none is named, and what the library shows.

A convenience: what cannot be written down is not, with a line in the log.
"""

from __future__ import annotations

import time

from edgelm import log, paths
from edgelm.errors import EdgeLMError
from edgelm.store.database import Database, Schema

SCHEMA = Schema("recent", ("CREATE TABLE model_uses (name TEXT PRIMARY KEY, used REAL NOT NULL);",))
_TIMEOUT_S = 0.5


def remember_model(name: str) -> None:
    """Note that `name` was loaded."""
    try:
        with (
            Database(paths.database(), SCHEMA, timeout_s=_TIMEOUT_S) as database,
            database.transaction() as rows,
        ):
            rows.execute("INSERT OR REPLACE INTO model_uses VALUES (?, ?)", (name, time.time()))
    except EdgeLMError as error:
        log.logger.info("the use of %s is not remembered: %s", name, error)


def model_uses() -> dict[str, float]:
    """Name → seconds since 1970 of its last use."""
    try:
        with Database(paths.database(), SCHEMA, timeout_s=_TIMEOUT_S) as database:
            return {row["name"]: row["used"] for row in database.rows("SELECT * FROM model_uses")}
    except EdgeLMError as error:
        log.logger.info("the uses of models cannot be read: %s", error)
        return {}


def last_model() -> str | None:
    """Return the model that was used last."""
    uses = model_uses()
    return max(uses, key=lambda name: uses[name]) if uses else None


def rename_use(old: str, new: str) -> None:
    """Note that a model has another name from now on."""
    try:
        with (
            Database(paths.database(), SCHEMA, timeout_s=_TIMEOUT_S) as database,
            database.transaction() as rows,
        ):
            rows.execute("UPDATE OR REPLACE model_uses SET name = ? WHERE name = ?", (new, old))
    except EdgeLMError as error:
        log.logger.info("the new name of %s is not remembered: %s", old, error)
