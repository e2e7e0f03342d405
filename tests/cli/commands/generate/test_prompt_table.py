"""Prompts of plain text and of tables: what is read, what is named with its line, and that a stopped run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_api import FakeApi

from edgelm.cli.commands.generate.prompt_table import columns_of, fill, table_rows, text_rows
from edgelm.cli.main import main
from edgelm.errors import FormatError, OptionError

Capture = pytest.CaptureFixture[str]


def test_a_line_is_a_prompt() -> None:
    assert list(text_rows("one\n\n  two \r\nthree", None)) == [
        (1, {"prompt": "one"}), (3, {"prompt": "  two "}), (4, {"prompt": "three"})
    ]  # fmt: skip
    assert list(text_rows("a{b}", "Say: {text}{{}}")) == [(1, {"prompt": "Say: a{b}{}"})]


def test_a_row_is_put_into_the_template_to_the_letter() -> None:
    table = 'id,text,lang\r\nx,"a ""quoted"", {lang}",fr\r\n\r\n,"two\nlines",de\r\n'
    rows = list(table_rows(table, "{lang}: {text} {text}", delimiter=",", name="t.csv"))
    assert rows == [
        (2, {"id": "x", "prompt": 'fr: a "quoted", {lang} a "quoted", {lang}',
             "meta": {"text": 'a "quoted", {lang}', "lang": "fr"}}),
        (5, {"prompt": "de: two\nlines two\nlines", "meta": {"text": "two\nlines", "lang": "de"}}),
    ]  # fmt: skip


def test_without_a_template_the_column_prompt_is_asked() -> None:
    assert list(table_rows("prompt\tn\nhi\t1\n", None, delimiter="\t", name="t")) == [
        (2, {"prompt": "hi", "meta": {"n": "1"}})
    ]


def test_a_row_of_another_length_is_named_with_its_line() -> None:
    rows = list(table_rows('a,b\n1\n1,2\n1,2,3\n"open', "{a}", delimiter=",", name="t"))
    assert [(line, row) for line, row in rows if isinstance(row, str)] == [
        (2, "1 cells, expected 2, as the heading has"), (4, "3 cells, expected 2, as the heading has"),
        (5, "unexpected end of data"),
    ]  # fmt: skip


@pytest.mark.parametrize("template", ["{a", "a}", "{}", "{0!r}", "{a:>5}", "{a.b:1}"])
def test_a_template_that_is_none_is_refused(template: str) -> None:
    with pytest.raises(OptionError, match="--template is"):
        columns_of(template)


def test_columns_that_are_none() -> None:
    assert fill("{a}", {"a": "{b}"}) == "{b}"
    with pytest.raises(OptionError, match="t has no column 'c', expected one of a, b"):
        list(table_rows("a,b\n1,2", "{c}", delimiter=",", name="t"))
    with pytest.raises(OptionError, match="t has no column 'prompt'"):
        list(table_rows("a,b\n1,2", None, delimiter=",", name="t"))
    with pytest.raises(FormatError, match="the column 'a' twice"):
        list(table_rows("a,a\n1,2", "{a}", delimiter=",", name="t"))
    with pytest.raises(FormatError, match="no heading"):
        list(table_rows("", "{a}", delimiter=",", name="t"))
    with pytest.raises(OptionError, match="'line'"):
        list(text_rows("a", "{line}"))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, api: FakeApi, tmp_path: Path) -> str:
    from edgelm.cli.commands import generate

    monkeypatch.setattr(generate, "_run_id", lambda *_: "run")
    return "tiny"


def answers(path: Path) -> dict[object, dict[str, object]]:
    return {said["id"]: said for said in map(json.loads, path.read_text().splitlines())}


def test_a_table_is_answered_and_goes_on(model: str, api: FakeApi, tmp_path: Path, capsys: Capture) -> None:
    table, out = tmp_path / "t.CSV", tmp_path / "answers.jsonl"
    table.write_bytes("\ufeffid,text\r\na,one\r\nb,fail\r\n".encode())
    command = ["generate", model, "--input", str(table), "--output", str(out), "--template", "Say {text}"]
    assert main(command) == 0
    assert answers(out)["a"]["text"] == "You said: Say one"
    assert answers(out)["a"]["meta"] == {"text": "one"}
    assert main(command) == 0
    assert "2 of 2 prompts are answered already" in capsys.readouterr().err
    table.write_text("id,text\na,other\n")
    assert main(command) == 1
    assert "answers another prompt than line 2" in capsys.readouterr().err


def test_what_would_be_passed_over_is_refused(model: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "p.txt").write_text("a\n")
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}\n')
    out = ["--output", str(tmp_path / "o.jsonl")]
    text, rows = (
        ["generate", model, "--input", str(tmp_path / "p.txt")],
        ["generate", model, "--input", str(tmp_path / "p.jsonl")],
    )
    for command, words in (
        ([*text, "--output", "-", "--retry-failed"], "--retry-failed goes on in a file"),
        ([*text, "--output", "-", "--force"], "--force goes on in a file"),
        ([*rows, *out, "--template", "{a}"], "--template needs rows"),
        ([*text, *out, "--template", "none"], "has no column in it"),
    ):
        assert main(command) == 2
        assert words in capsys.readouterr().err
    assert main([*text, *out]) == 0
    assert answers(tmp_path / "o.jsonl")[1]["text"] == "You said: a"
