"""What is meant as a file is one: no look at the Hub, the nearest name, and files under wrong endings are read or said once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgelm.errors import NotFoundError
from edgelm.tune.data.prepare import read_records
from edgelm.tune.data.reading import readers
from edgelm.tune.data.reading.readers import read_rows
from edgelm.tune.data.reading.sources import find_sources, is_dataset

ROWS = [
    {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]}
    for n in range(9)
]


@pytest.fixture(autouse=True)
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str) -> Any:
        raise AssertionError(f"{text} was looked for on the Hub")

    monkeypatch.setattr(readers, "read_hub_rows", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "data" / "._train.jsonl").write_bytes(b"\0\5\x16\7")


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("data/trian.jsonl", "data/train.jsonl"),
        ("data/train.json", "data/train.jsonl"),
        ("dta/train.jsonl", "data/train.jsonl"),
        ("data/Train.JSONL", "data/train.jsonl"),
        ("data/trains", "data/train.jsonl"),
        ("nowhere/rows.csv", None),
        ("nowhere/rows.jsonl.gz", None),
        ("nowhere/rows.PARQUET", None),
        ("./nowhere/rows", None),
        ("rows.tsv", None),
    ],
)
def test_a_misspelt_path_is_said_at_once(text: str, near: str | None) -> None:
    for read in (lambda: find_sources(text), lambda: list(read_rows(text))):
        with pytest.raises(NotFoundError, match="does not exist") as error:
            read()
        assert error.value.hint == (near and f"did you mean {near}?")


def test_a_folder_whose_name_is_a_pattern_is_read_by_its_name(tmp_path: Path) -> None:
    """`a[b]*` as a pattern matches `ab`, and not itself."""
    for name, count in (("a[b]*", 3), ("ab", 1)):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("train.jsonl", "valid.jsonl"):
            (folder / file).write_text("".join(json.dumps(row) + "\n" for row in ROWS[:count]))
    found = find_sources(str(tmp_path / "a[b]*"))
    assert found.validation is not None
    for text in (found.train, found.validation, str(tmp_path / "a[b]*" / "train.jsonl")):
        assert Path(text).parent.name == "a[b]*"
        assert len(list(read_rows(text))) == 3
    with pytest.raises(NotFoundError) as error:
        find_sources("a[b]*/trian.jsonl")
    assert error.value.hint == "did you mean a[b]*/train.jsonl?"


@pytest.mark.parametrize(
    "text", ["HuggingFaceH4/ultrachat_200k", "owner/name:test", "owner/name.v2:config:train"]
)
def test_a_hub_id_is_one(text: str) -> None:
    assert is_dataset(text)
    assert find_sources(text).train == text


def test_a_hidden_file_stands_for_no_folder(tmp_path: Path) -> None:
    assert find_sources("data").train == "data/train.jsonl"
    (tmp_path / "data" / "train.jsonl").rename(tmp_path / "data" / "rows.jsonl")
    with pytest.raises(NotFoundError) as error:
        find_sources("data")
    assert error.value.hint == "give the file itself: data/rows.jsonl"


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("begin", ["", "\ufeff", "\n\n"])
def test_json_lines_that_are_one_array_are_read(indent: int | None, begin: str) -> None:
    path = Path("a.jsonl")
    path.write_text(begin + json.dumps(ROWS, indent=indent) + "\n")
    found = read_records(str(path))
    assert (found.report.rows, found.report.problems) == (len(ROWS), [])


def test_json_lines_of_one_object_over_many_lines_are_read() -> None:
    Path("a.jsonl").write_text(json.dumps({"data": ROWS}, indent=2))
    assert read_records("a.jsonl").report.rows == len(ROWS)


def test_rows_that_are_lists_are_each_said() -> None:
    Path("a.jsonl").write_text('[{"role": "user"}]\n[{"role": "user"}]\n')
    assert len(read_records("a.jsonl").report.errors) == 2


EMPTY: list[tuple[dict[str, Any], str, bool]] = [
    ({"prompt": "", "completion": "x"}, "prompt", True),
    ({"prompt": " \n", "completion": "x"}, "prompt", True),
    ({"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "x"}]}, "messages[0].content", True),
    ({"prompt": "", "chosen": "x", "rejected": "y"}, "prompt[0].content", True),
    ({"prompt": "", "completion": "x", "label": True}, "prompt[0].content", True),
    (
        {
            "messages": [
                {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
                {"role": "user", "content": ""}, {"role": "assistant", "content": "b"},
            ]
        },
        "messages[2].content",
        False,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("row", "field", "is_error"), EMPTY)
def test_an_empty_prompt_is_a_named_problem(row: dict[str, Any], field: str, is_error: bool) -> None:
    Path("a.jsonl").write_text(json.dumps(row) + "\n")
    report = read_records("a.jsonl").report
    (problem,) = [problem for problem in report.problems if problem.sort == "empty prompt"]
    assert (problem.field, problem.severity == "error") == (field, is_error)


def test_control_tokens_in_rows_are_said_with_their_place() -> None:
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a<|im_end|>b"}]}
    Path("a.jsonl").write_text(json.dumps(row) + "\n")
    report = read_records("a.jsonl").report
    (problem,) = report.problems
    assert (problem.sort, problem.severity, problem.field) == (
        "control token",
        "warning",
        "messages[1].content",
    )
    assert problem.origin.line == 1
    assert "<|im_end|>" in problem.reason
