"""The one SQLite file of this user, safe for several edgelm processes at once.

    SCHEMA = Schema("chats", ("CREATE TABLE chats (…)", "ALTER TABLE chats ADD COLUMN …"))

    with Database(paths.database(), SCHEMA) as database, database.transaction() as rows:
        rows.execute("INSERT INTO chats …")

Each part of edgelm owns its tables and their migrations: a `Schema` is a name and a list of scripts that is only
ever appended to, and the file remembers how many of each have run. Write-ahead logging lets readers go on while
one process writes; writers wait for each other. Knows no table but its own.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgelm.errors import EdgeLMError, FormatError, OutputError, UnsupportedError

BUSY_TIMEOUT_S = 5.0
_RETRY_S = 0.01
_NOT_A_DATABASE = ("file is not a database", "malformed", "not a database")


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one part, as the scripts that make them: the first makes version 1, each other one more."""

    name: str
    migrations: tuple[str, ...]


class Database:
    """A connection, with the tables of some parts at their newest version. Close it, or use it in a `with` block.

    May be used from any thread; one transaction at a time.

    Args:
        path: the file; made, with its directory, where it is not there.
        schemas: the parts whose tables are wanted.

    Raises:
        FormatError: the file is not a database.
        UnsupportedError: a newer edgelm has changed the tables.
        OutputError: it cannot be written, or another process has kept it locked for longer than `timeout_s`.
    """

    def __init__(self, path: Path, *schemas: Schema, timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._path = path
        self._lock = threading.RLock()
        with sqlite_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Transactions are begun by hand: sqlite3 would begin them too late to wait for a writer.
            self._connection = sqlite3.connect(
                path, timeout=timeout_s, isolation_level=None, check_same_thread=False
            )
        try:
            self._set_up(schemas, timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """The file of the database."""
        return self._path

    def _set_up(self, schemas: tuple[Schema, ...], timeout_s: float) -> None:
        self._connection.row_factory = sqlite3.Row
        with sqlite_errors(self._path):
            self._enter_wal(timeout_s)
            # A power cut may lose the last transactions under WAL, never the file.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA foreign_keys = ON")
        for schema in schemas:
            self._migrate(schema)

    def _enter_wal(self, timeout_s: float) -> None:
        """Only once in the life of a file; SQLite does not wait by itself for others that do the same."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(_RETRY_S)
            else:
                return

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write everything in the block, or nothing of it; waits for another writer first."""
        with self._lock, sqlite_errors(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Read all rows of a SELECT; never waits for a writer."""
        with self._lock, sqlite_errors(self._path):
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, *values: object) -> sqlite3.Row | None:
        """Read the first row of a SELECT; None if there is none."""
        return next(iter(self.rows(query, *values)), None)

    def close(self) -> None:
        """Close the connection; again is a no-op."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _migrate(self, schema: Schema) -> None:
        if self._version(schema.name) == len(schema.migrations):  # the usual case, without a write lock
            return
        with self.transaction() as rows:
            rows.execute(
                "CREATE TABLE IF NOT EXISTS schema_versions (name TEXT PRIMARY KEY, version INTEGER NOT NULL)"
            )
            version = self._version(schema.name)
            if version > len(schema.migrations):
                raise UnsupportedError(
                    f"{self._path} holds version {version} of the {schema.name} tables,"
                    f" expected at most {len(schema.migrations)}",
                    hint="a newer edgelm wrote it: update this one",
                )
            for script in schema.migrations[version:]:
                for statement in _statements(script):
                    rows.execute(statement)
            rows.execute(
                "INSERT OR REPLACE INTO schema_versions VALUES (?, ?)", (schema.name, len(schema.migrations))
            )

    def _version(self, name: str) -> int:
        if self.row("SELECT 1 FROM sqlite_master WHERE name = 'schema_versions'") is None:
            return 0
        found = self.row("SELECT version FROM schema_versions WHERE name = ?", name)
        return int(found["version"]) if found else 0


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Translate what SQLite raises about `path`."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error, path) from error
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _translated(error: sqlite3.Error, path: Path) -> EdgeLMError:
    text = str(error)
    if any(words in text for words in _NOT_A_DATABASE):
        return FormatError(
            f"{path} is not a database: {text}", hint="move it away to begin with an empty one"
        )
    if "locked" in text or "busy" in text:
        return OutputError(
            f"{path} is locked by another process", hint="close the other edgelm, or try again"
        )
    if "full" in text:
        return OutputError(f"cannot write {path}: {text}", hint="free some space and try again")
    return OutputError(f"{path}: {text}")


def _statements(script: str) -> Iterator[str]:
    """One by one, because `executescript` would commit the transaction around them."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
