"""Rows of a file or a Hub dataset as they were written, each with its line; broken ones become problems.

JSONL, JSON (a list, or an object around one), CSV, TSV, Parquet, plain text. Knows nothing about what rows mean.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError, NotFoundError, UnsupportedError
from edgelm.tune.data.problems import Problem
from edgelm.tune.data.reading.arrow import restorer
from edgelm.tune.data.reading.hub_rows import read_hub_rows
from edgelm.tune.data.reading.json_rows import read_json, read_json_lines
from edgelm.tune.data.reading.sources import SUFFIXES, is_dataset, missing
from edgelm.tune.data.reading.written import Written
from edgelm.tune.data.rows import RowOrigin

MAX_FIELD_CHARS = 1 << 26
"""The largest CSV cell; the csv module's own limit, 131,072, is less than many documents."""


def read_rows(text: str) -> Iterator[Written | Problem]:
    """Read every row of the file or Hub dataset that `text` names, in order.

    Raises:
        NotFoundError: no such file or dataset.
        FormatError: not a kind of file that holds rows, not text, or nothing in it.
        UnsupportedError: a kind of data whose reader is not installed.
    """
    path = Path(text).expanduser()
    if path.is_file():
        return _read_file(path, text)
    if path.is_dir():
        raise FormatError(f"{text} is a directory, expected a file of rows")
    if is_dataset(text):
        return read_hub_rows(text)
    raise missing(text)


def _read_file(path: Path, name: str) -> Iterator[Written | Problem]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FormatError(
            f"{name} ends in {path.suffix or 'nothing'}, expected one of {', '.join(SUFFIXES)}",
            hint="one JSON object a line, in a .jsonl file, is the usual form",
        )
    try:
        if path.stat().st_size == 0:
            raise FormatError(f"{name} is empty")
        yield from reader(path, name)
    except OSError as error:
        raise NotFoundError(f"{name} cannot be read: {error.strerror or error}") from error


def _json_lines(path: Path, name: str) -> Iterator[Written | Problem]:
    if _is_one_array(path):
        yield from _json(path, name)
        return
    with path.open("rb") as file:
        for line, value in read_json_lines(file, name):
            yield _written(value, RowOrigin(name, line))


def _is_one_array(path: Path) -> bool:
    """Whether a file of JSON lines is one JSON list, or one object over many lines, under a wrong name."""
    with path.open("rb") as file:
        filled = (line.strip() for line in file if line.strip(b"\xef\xbb\xbf \t\r\n"))
        first, second = (next(filled, b"").removeprefix(b"\xef\xbb\xbf") for _ in range(2))
    if not first.startswith(b"["):
        return first == b"{" and second.startswith(b'"')
    try:
        rows = json.loads(first)
    except (ValueError, RecursionError):
        return True
    return not second and all(isinstance(row, dict) for row in rows)


def _json(path: Path, name: str) -> Iterator[Written | Problem]:
    for line, value in read_json(_text(path, name), name):
        yield _written(value, RowOrigin(name, line))


def _written(value: Any, origin: RowOrigin) -> Written | Problem:
    if isinstance(value, Problem):
        return value
    if not isinstance(value, dict):
        return Problem(origin, "", f"the row is {_kind(value)}, expected an object", "syntax")
    return Written(value, origin)


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _plain_text(path: Path, name: str) -> Iterator[Written | Problem]:
    """The whole file is one text; long texts can be split later."""
    yield Written({"text": _text(path, name)}, RowOrigin(name, 1))


def _text(path: Path, name: str) -> str:
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FormatError(f"{name} is UTF-16, expected UTF-8", hint=f"iconv -f UTF-16 -t UTF-8 {name}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(f"{name}:{line}: byte {error.start} is not UTF-8 text") from error


def _comma_separated(path: Path, name: str) -> Iterator[Written | Problem]:
    return _table(_text(path, name), name, ",")


def _tab_separated(path: Path, name: str) -> Iterator[Written | Problem]:
    return _table(_text(path, name), name, "\t")


def _table(text: str, name: str, delimiter: str) -> Iterator[Written | Problem]:
    csv.field_size_limit(MAX_FIELD_CHARS)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        origin = RowOrigin(name, lines.line_num + 1)
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            # What follows a broken quote cannot be told apart into rows.
            yield Problem(origin, "", f"not readable as CSV from here on: {error}", "syntax")
            return
        if header is None:
            header = _header(cells, name)
        elif cells:
            yield _record(header, cells, origin)


def _header(cells: list[str], name: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = sorted({cell for cell in names if names.count(cell) > 1})
    if twice:
        raise FormatError(f"{name}:1: the header names {twice[0]!r} twice")
    return names


def _record(header: list[str], cells: list[str], origin: RowOrigin) -> Written | Problem:
    if len(cells) != len(header):
        reason = f"the row has {len(cells)} cells, expected {len(header)} as in the header"
        return Problem(origin, "", reason, "syntax")
    return Written(dict(zip(header, cells, strict=True)), origin)


def _parquet(path: Path, name: str) -> Iterator[Written | Problem]:
    try:
        import pyarrow.parquet as parquet
        from pyarrow import ArrowException
    except ImportError as error:
        raise UnsupportedError(
            f"{name} is Parquet, and pyarrow is not installed", hint="pip install 'edgelm[data]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            columns = {field.name: restorer(field.type) for field in file.schema_arrow}
            values = (row for batch in file.iter_batches() for row in batch.to_pylist())
            for number, value in enumerate(values, start=1):
                row = {key: columns[key](cell) for key, cell in value.items()}
                yield _written(row, RowOrigin(name, number))
    except (ArrowException, OSError, ValueError) as error:
        raise FormatError(f"{name} is not readable as Parquet: {error}") from error


_READERS = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _comma_separated,
    ".tsv": _tab_separated,
    ".parquet": _parquet,
    ".txt": _plain_text,
    ".md": _plain_text,
}
"""By the end of the file's name, in order of preference."""
