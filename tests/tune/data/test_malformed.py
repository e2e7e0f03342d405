"""Malformed data: each kind is named with its file, line, field and reason, and nothing but EdgeLMErrors comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chat_templates import make_tokenizer

from edgelm.errors import FormatError
from edgelm.tune.data.prepare import prepare, read_records
from edgelm.tune.data.settings import DataSettings

from .malformed import BAD_ROWS, BOT, GOOD, USER, chat, rows


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_are_named(name: str, tmp_path: Path) -> None:
    file, content, line, field, reason = BAD_ROWS[name]
    path = tmp_path / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    report = read_records(str(path)).report
    problem = report.errors[-1]
    assert (problem.origin.file, problem.origin.line, problem.field) == (str(path), line, field)
    assert reason in problem.reason
    assert not problem.reason.endswith(".")
    with pytest.raises(FormatError, match=r"1 of \d+ rows? cannot be trained") as refused:
        report.require_clean()
    assert f"{path}:{line}" in refused.value.message


BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.jsonl", b"", "a.jsonl is empty"),
    "blank": ("a.jsonl", b"\n\n", "a.jsonl holds no rows"),
    "UTF-16 lines": ("a.jsonl", '{"text": "a"}'.encode("utf-16"), "a.jsonl is UTF-16, expected UTF-8"),
    "UTF-16": ("a.json", '[{"text": "a"}]'.encode("utf-16"), "a.json is UTF-16, expected UTF-8"),
    "Latin-1": ("a.csv", b"text\nna\xefve\n", "a.csv:2: byte 7 is not UTF-8 text"),
    "unknown ending": ("a.xlsx", b"PK", "a.xlsx ends in .xlsx, expected one of .jsonl"),
    "a number": ("a.json", b"7", "a.json is not a JSON list or object"),
    "an empty list": ("a.json", b"[]", "a.json holds no rows"),
    "a column twice": ("a.csv", b"text,text\na,b\n", "a.csv:1: the header names 'text' twice"),
    "a header alone": ("a.csv", b"text\n", "a.csv holds no rows"),
    "no Parquet": ("a.parquet", b"PAR1 or not", "a.parquet is not readable as Parquet"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused(name: str, tmp_path: Path) -> None:
    file, content, message = BAD_FILES[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(FormatError) as refused:
        read_records(str(path))
    assert message in refused.value.message


UNTRAINABLE: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "too long": ({"text": "x" * 50}, {"max_tokens": 20}, "", "51 tokens, more than 20"),
    "nothing trained is left": (
        {"prompt": "x" * 50, "completion": "y"}, {"max_tokens": 20, "long_rows": "truncate"},
        "", "and nothing that is trained lies within",
    ),
    "a chat cannot be split": (GOOD, {"max_tokens": 5, "long_rows": "split"}, "", "more than 5"),
    "refused by the template": (
        chat({"role": "system", "content": "x"}, USER, BOT), {}, "messages",
        "the model's chat template refuses these messages",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNTRAINABLE)
def test_rows_that_this_model_cannot_be_trained_on(name: str, tmp_path: Path) -> None:
    row, settings, field, reason = UNTRAINABLE[name]
    path = tmp_path / "a.jsonl"
    path.write_text(rows(row))
    prepared = prepare(str(path), make_tokenizer("gemma"), DataSettings(**settings))
    (problem,) = prepared.report.errors
    assert (problem.origin.line, problem.field) == (1, field)
    assert reason in problem.reason
    assert len(prepared.train) == 0


def test_every_bad_row_is_listed_not_just_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("broken\n" * 30 + rows(GOOD))
    report = read_records(str(path)).report
    assert [problem.origin.line for problem in report.errors] == list(range(1, 31))
    with pytest.raises(FormatError, match=r"30 of 31 rows .*(?s:.*)and 20 more"):
        report.require_clean()
