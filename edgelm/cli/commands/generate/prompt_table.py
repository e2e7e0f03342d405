"""Prompts that are no JSON: a line of text each, or a row of a table (CSV, TSV) put into a template.

What is read here becomes the objects that a file of JSON lines holds, so that all else (checks, ids, going on) is the same.
Knows nothing about answers.
"""

from __future__ import annotations

import csv
import io
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from edgelm.errors import FormatError, OptionError

Format = Literal["jsonl", "text", "csv", "tsv"]
FORMATS: tuple[Format, ...] = ("jsonl", "text", "csv", "tsv")
_SUFFIXES: dict[str, Format] = {".txt": "text", ".text": "text", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv"}
_PROMPT = "prompt"
_OWN = ("id", _PROMPT)

Numbered = tuple[int, Mapping[str, Any] | str]
"""A line's number, counted from 1, and the row, or why there is none."""


def format_of(name: str, said: Format | None) -> Format:
    """Tell what a file holds: what was said, else what its ending says, else JSON."""
    return said or _SUFFIXES.get(Path(name).suffix.lower(), "jsonl")


def check_template(template: str | None, form: Format) -> None:
    """Refuse a template where nothing is put in, or that cannot be read.

    Raises:
        OptionError: it says why.
    """
    if template is None:
        return
    if form == "jsonl":
        raise OptionError(
            "--template needs rows of CSV, TSV or text, given JSON", hint="--format says what the file is"
        )
    if not columns_of(template):
        raise OptionError(
            f"--template is {template!r}, which has no column in it",
            hint="as in --template 'Translate: {text}'",
        )


def columns_of(template: str) -> list[str]:
    """List the columns that a template names in braces; `{{` and `}}` are braces.

    Raises:
        OptionError: braces that do not fit, or more in them than a name.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise OptionError(f"--template is {template!r}: {error}", hint="{{ and }} are braces") from None
    names = [name for _, name, _, _ in parts if name is not None]
    if any(not name.strip() or form or conversion for _, name, form, conversion in parts if name is not None):
        raise OptionError(
            f"--template is {template!r}, expected the names of columns in braces",
            hint="{{ and }} are braces",
        )
    return names


def fill(template: str, row: Mapping[str, str]) -> str:
    """Fill `template` with what stands in the columns, to the letter: what a cell holds is never a template."""
    return "".join(
        text + ("" if name is None else row[name]) for text, name, _, _ in string.Formatter().parse(template)
    )


def text_rows(text: str, template: str | None) -> Iterator[Numbered]:
    """Make a prompt of each line that is not blank; a template has the line as `{text}`."""
    for number, line in enumerate(text.splitlines() if "\r" in text else text.split("\n"), 1):
        if not line.strip():
            continue
        if template is None:
            yield number, {_PROMPT: line}
            continue
        strange = [name for name in columns_of(template) if name != "text"]
        if strange:
            raise OptionError(f"--template names {strange[0]!r}, and a line of text is {{text}}")
        yield number, {_PROMPT: fill(template, {"text": line})}


def table_rows(text: str, template: str | None, *, delimiter: str, name: str) -> Iterator[Numbered]:
    """Make a prompt of each row under the heading: the template, else its column `prompt`; all its columns are its `meta`.

    A column `id` names the row. Lines are those at which a row ends, as cells may go over several.

    Raises:
        FormatError: no heading, or one that names a column twice.
        OptionError: the template names a column that is none.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    heading = _heading(reader, name)
    wanted = columns_of(template) if template is not None else [_PROMPT]
    missing = [column for column in wanted if column not in heading]
    if missing:
        hint = "--template 'Translate: {COLUMN}' makes prompts of other columns" if template is None else None
        raise OptionError(
            f"{name} has no column {missing[0]!r}, expected one of {', '.join(heading)}", hint=hint
        )
    yield from _rows(reader, heading, template)


def _heading(reader: Any, name: str) -> Sequence[str]:
    try:
        heading = [cell.strip() for cell in next(reader, [])]
    except csv.Error as error:
        raise FormatError(f"line 1 of {name}: {error}") from error
    twice = [column for column in heading if heading.count(column) > 1]
    if not any(heading) or twice:
        problem = f"the column {twice[0]!r} twice" if any(heading) else "no heading"
        raise FormatError(f"{name} has {problem}, expected names of columns in its first line")
    return heading


def _rows(reader: Any, heading: Sequence[str], template: str | None) -> Iterator[Numbered]:
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield reader.line_num, str(error)
            continue
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(heading):
            yield reader.line_num, f"{len(cells)} cells, expected {len(heading)}, as the heading has"
            continue
        row = dict(zip(heading, cells, strict=True))
        own = {"id": row["id"]} if row.get("id", "").strip() else {}
        meta = {column: cell for column, cell in row.items() if column not in _OWN}
        prompt = row[_PROMPT] if template is None else fill(template, row)
        yield reader.line_num, {**own, _PROMPT: prompt, **({"meta": meta} if meta else {})}
