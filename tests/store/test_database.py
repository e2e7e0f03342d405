"""One file, several processes: migrations, transactions, and what is said when the file cannot be used."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from waiting import PATIENCE_S

from edgelm.errors import FormatError, OutputError, UnsupportedError
from edgelm.store.database import Database, Schema

NOTES = Schema("notes", ("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);",))
LATER = Schema("notes", (*NOTES.migrations, "ALTER TABLE notes ADD COLUMN rating INTEGER DEFAULT 0;"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "edgelm.db"


def write(database: Database, text: str) -> None:
    with database.transaction() as rows:
        rows.execute("INSERT INTO notes (text) VALUES (?)", (text,))


def texts(database: Database) -> list[str]:
    return [row["text"] for row in database.rows("SELECT text FROM notes ORDER BY id")]


def test_what_is_written_is_there_next_time(path: Path) -> None:
    with Database(path, NOTES) as database:
        write(database, "a")
    with Database(path, NOTES) as database:
        assert texts(database) == ["a"]


def test_migrations_run_once_and_keep_the_rows(path: Path) -> None:
    with Database(path, NOTES) as database:
        write(database, "a")
    for _ in range(2):
        with Database(path, LATER) as database:
            assert [tuple(row) for row in database.rows("SELECT text, rating FROM notes")] == [("a", 0)]


def test_parts_have_versions_of_their_own(path: Path) -> None:
    other = Schema("runs", ("CREATE TABLE runs (id INTEGER);", "CREATE TABLE more (id INTEGER);"))
    with Database(path, NOTES):
        pass
    with Database(path, other, LATER) as database:
        assert dict(map(tuple, database.rows("SELECT name, version FROM schema_versions"))) == {
            "notes": 2,
            "runs": 2,
        }


def test_a_broken_migration_leaves_the_version_before_it(path: Path) -> None:
    with Database(path, NOTES) as database:
        write(database, "a")
    broken = Schema("notes", (*NOTES.migrations, "CREATE TABLE extra (id INTEGER);\nCREATE TABL oops;"))
    with pytest.raises(OutputError, match="syntax error"):
        Database(path, broken)
    with Database(path, NOTES) as database:
        assert texts(database) == ["a"]
        assert database.row("SELECT 1 FROM sqlite_master WHERE name = 'extra'") is None


def test_a_newer_file_is_refused(path: Path) -> None:
    with Database(path, LATER):
        pass
    with pytest.raises(UnsupportedError, match="version 2 of the notes tables, expected at most 1"):
        Database(path, NOTES)


def test_a_transaction_that_fails_leaves_nothing(path: Path) -> None:
    with Database(path, NOTES) as database:
        with pytest.raises(ValueError, match="no"), database.transaction() as rows:
            rows.execute("INSERT INTO notes (text) VALUES ('a')")
            raise ValueError("no")
        assert texts(database) == []


def test_threads_share_a_connection(path: Path) -> None:
    with Database(path, NOTES) as database:
        threads = [threading.Thread(target=write, args=(database, str(n))) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(int, texts(database))) == list(range(20))


@pytest.mark.fault
def test_processes_share_a_file(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgelm.store.database import Database, Schema\n"
        f"notes = Schema('notes', {NOTES.migrations!r})\n"
        "with Database(Path(sys.argv[1]), notes, timeout_s=60) as database:\n"
        "    for n in range(50):\n"
        "        with database.transaction() as rows:\n"
        "            rows.execute('INSERT INTO notes (text) VALUES (?)', (sys.argv[2],))\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "ab"]
    assert [worker.wait(timeout=PATIENCE_S) for worker in workers] == [0, 0]
    with Database(path, NOTES) as database:
        assert sorted(texts(database)) == ["a"] * 50 + ["b"] * 50


def test_a_lock_that_is_not_given_back_is_an_error(path: Path) -> None:
    with Database(path, NOTES) as holder, Database(path, NOTES, timeout_s=0.05) as database:
        with holder.transaction(), pytest.raises(OutputError, match="locked by another process"):
            write(database, "a")
        write(database, "b")
        assert texts(database) == ["b"]


def test_a_file_that_is_no_database(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is not a database, nor will it ever be one " * 100)
    with pytest.raises(FormatError, match="is not a database"):
        Database(path, NOTES)


def test_a_full_disk(path: Path) -> None:
    with Database(path, NOTES) as database:
        pages = database.rows("PRAGMA page_count")[0][0]
        database._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OutputError, match="full"):
            write(database, "long " * 100_000)
        write_small = database.row("SELECT count(*) AS n FROM notes")
        assert write_small is not None
        assert write_small["n"] == 0


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        Database(tmp_path / "file" / "edgelm.db", NOTES)


def test_unknown_tables_are_an_error_of_ours(path: Path) -> None:
    with Database(path) as database, pytest.raises(OutputError, match="no such table"):
        database.rows("SELECT * FROM nowhere")
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)
