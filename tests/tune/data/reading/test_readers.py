"""Every kind of file gives the same rows, and hostile ones give nothing but EdgeLMErrors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelm.errors import EdgeLMError, NotFoundError, UnsupportedError
from edgelm.tune.data.prepare import read_records
from edgelm.tune.data.problems import Problem
from edgelm.tune.data.reading.readers import read_rows
from edgelm.tune.data.reading.sources import find_sources
from edgelm.tune.data.reading.written import Written
from edgelm.tune.data.records import (
    ChatRecord,
    CompletionRecord,
    JudgementRecord,
    PreferenceRecord,
    TextRecord,
)

ROWS = [{"prompt": "1+1", "completion": "2"}, {"prompt": 'a "b"', "completion": "c,\nd"}]


def values(path: Path) -> list[Any]:
    return [row.value for row in read_rows(str(path)) if isinstance(row, Written)]


def lines(path: Path) -> list[int]:
    return [row.origin.line for row in read_rows(str(path))]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.jsonl", "\n".join(map(json.dumps, ROWS)), [1, 2]),
        ("a.jsonl", "\ufeff" + "\n\n".join(map(json.dumps, ROWS)) + "\r\n", [1, 3]),
        ("a.json", json.dumps(ROWS, indent=1), [2, 6]),
        ("a.json", json.dumps({"version": 1, "data": ROWS}, indent=1), [4, 8]),
        ("a.json", "\n".join(map(json.dumps, ROWS)), [1, 2]),
        ("a.json", json.dumps(ROWS[0], indent=1), [1]),
        ("a.csv", 'prompt,completion\n1+1,2\n"a ""b""","c,\nd"\n', [2, 3]),
        ("a.tsv", 'prompt\tcompletion\n1+1\t2\n"a ""b"""\t"c,\nd"\n', [2, 3]),
    ],
)
def test_rows_and_their_lines(name: str, text: str, expected: list[int], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, newline="")
    assert values(path) == ROWS[: len(expected)]
    assert lines(path) == expected


@pytest.mark.slow
def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    chat = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([chat, chat]), path)
    assert values(path) == [chat, chat]
    assert lines(path) == [1, 2]
    assert read_records(str(path)).report.formats == {"chat": 2}


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UnsupportedError, match="pyarrow is not installed") as refused:
        list(read_rows(str(path)))
    assert "edgelm[data]" in str(refused.value.hint)


def test_a_text_file_is_one_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo\n")
    assert values(path) == [{"text": "one\n\ntwo\n"}]


def test_a_missing_file_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "examples.jsonl").write_text("{}")
    with pytest.raises(NotFoundError, match="does not exist") as refused:
        read_rows(str(tmp_path / "example.jsonl"))
    assert refused.value.hint == f"did you mean {tmp_path / 'examples.jsonl'}?"


def test_a_folder_stands_for_its_train_and_valid_files(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="a directory without train"):
        find_sources(str(tmp_path))
    (tmp_path / "train.jsonl").write_text("{}")
    assert find_sources(str(tmp_path)).validation is None
    (tmp_path / "valid.csv").write_text("text\n")
    sources = find_sources(str(tmp_path))
    assert (sources.train, sources.validation) == (
        str(tmp_path / "train.jsonl"),
        str(tmp_path / "valid.csv"),
    )


def test_a_hub_dataset_is_read_through_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[Any] = []

    def load_dataset(name: str, config: str | None, *, split: str) -> Any:
        asked.append((name, config, split))
        return datasets.Dataset.from_list([{"text": "a"}, {"text": "b"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = read_records("owner/name:small:train")
    assert asked == [("owner/name", "small", "train")]
    assert [str(record.origin) for record in found.records] == [
        "owner/name:small:train:1",
        "owner/name:small:train:2",
    ]


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UnsupportedError, match="the datasets package is missing"):
        list(read_rows("owner/name"))


FORMATS: dict[str, tuple[dict[str, Any], type]] = {
    "chat": (
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        ChatRecord,
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        ChatRecord,
    ),
    "alpaca": ({"instruction": "a", "input": "", "output": "b"}, ChatRecord),
    "completion": ({"prompt": "a", "completion": "b"}, CompletionRecord),
    "text": ({"text": "a"}, TextRecord),
    "preference": ({"prompt": "a", "chosen": "b", "rejected": "c"}, PreferenceRecord),
    "kto": ({"prompt": "a", "completion": "b", "label": True}, JudgementRecord),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_told_row_by_row(name: str, tmp_path: Path) -> None:
    row, kind = FORMATS[name]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row))
    found = read_records(str(path))
    assert found.report.formats == {name: 1}
    assert isinstance(found.records[0], kind)
    if kind is ChatRecord:
        assert [dict(message) for message in found.records[0].messages] == [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
        ]


def test_what_is_beside_the_messages_passes_through(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    row = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": None, "tool_calls": [call], "thinking": "hm"},
            {"role": "function", "name": "f", "content": "2"},
            {"role": "assistant", "content": "c"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row))
    (record,) = read_records(str(path)).records
    assert isinstance(record, ChatRecord)
    asked, called, told, _ = record.messages
    assert asked["content"] == "ab"
    assert called["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    assert called["tool_calls"][0]["id"] == "1"
    assert called["reasoning_content"] == "hm"
    assert told == {"role": "tool", "name": "f", "content": "2"}
    assert record.tools == ({"type": "function", "function": {"name": "f"}},)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*{key for row, _ in FORMATS.values() for key in row}, "history", "tools", "system"])
ROLES = st.sampled_from(["user", "assistant", "system", "tool", "gpt", "", 3, None])
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "role": ROLES,
        "content": JSON,
        "tool_calls": JSON,
        "weight": JSON,
        "from": ROLES,
        "value": JSON,
    },
)
ROW = st.dictionaries(KEYS, JSON | st.lists(MESSAGE, max_size=3), max_size=4)


def _read(path: Path) -> None:
    try:
        report = read_records(str(path)).report
    except EdgeLMError:
        return
    assert all(isinstance(problem, Problem) and problem.reason for problem in report.problems)


@pytest.mark.slow
@given(values=st.lists(ROW | JSON, min_size=1, max_size=4), suffix=st.sampled_from([".jsonl", ".json"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_rows_or_problems(values: list[Any], suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("\n".join(map(json.dumps, values)) if suffix == ".jsonl" else json.dumps(values))
    _read(path)


@given(
    data=st.binary(max_size=200),
    suffix=st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet"]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_rows_or_an_error(data: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    _read(path)
