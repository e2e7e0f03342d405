"""Rows come out of tables as they went in: without the nulls that one type for all rows added, with those that were written."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgelm.tune.data.encoding.formats import read_record
from edgelm.tune.data.prepare import read_records
from edgelm.tune.data.reading.hub_rows import restored_rows
from edgelm.tune.data.reading.readers import read_rows


def called(**arguments: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}


def tool(**properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


ROWS: list[dict[str, Any]] = [
    {
        "messages": [{"role": "user", "content": "weather?"}, called(city="Paris")],
        "tools": [tool(city={"type": "string", "enum": ["Paris"]})],
    },
    {
        "messages": [
            {"role": "user", "content": "time?"},
            called(zone={"name": "CET"}, tags=[{"a": 1}, {"b": 2}]),
        ],
        "tools": [
            tool(zone={"type": "object", "properties": {"name": {"type": "string"}}}),
            tool(n={"type": "integer"}),
        ],
    },
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "tools": []},
    {"messages": [{"role": "user", "content": "now"}, called()], "tools": [tool()]},
    {
        "messages": [{"role": "user", "content": "list"}, called(items=[1, None, 3])],
        "tools": [tool(items={"type": "array"})],
    },
]


def read(path: Path) -> list[Any]:
    return [row.value for row in read_rows(str(path))]  # type: ignore[union-attr]


@pytest.mark.slow
def test_parquet_gives_back_what_was_put_in(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.Table.from_pylist(ROWS)
    assert '"zone": null' in json.dumps(table.to_pylist()[0]).replace(
        "None", "null"
    )  # what the table made of it
    pq.write_table(table, path)
    assert read(path) == ROWS


def test_what_is_trained_is_the_same_as_from_json_lines(tmp_path: Path) -> None:
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), table)
    ours, theirs = read_records(str(table)), read_records(str(lines))
    assert not ours.report.errors
    assert [one.content_key for one in ours.records] == [one.content_key for one in theirs.records]


def test_a_written_null_stays_in_json_lines_and_in_json_text(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "x"}, called(city="Paris", unit=None)]}
    lines = tmp_path / "a.jsonl"
    lines.write_text(json.dumps(row) + "\n")
    (record,) = read_records(str(lines)).records
    wanted = {"city": "Paris", "unit": None}
    assert record.messages[1]["tool_calls"][0]["function"]["arguments"] == wanted  # type: ignore[union-attr]
    row["messages"][1]["tool_calls"][0]["function"]["arguments"] = json.dumps(wanted)  # type: ignore[index]
    table = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([row]), table)
    (record,) = read_records(str(table)).records
    assert record.messages[1]["tool_calls"][0]["function"]["arguments"] == wanted  # type: ignore[union-attr]


STRUCT = pa.struct([("a", pa.int64()), ("b", pa.int64())])
KINDS: dict[str, tuple[pa.DataType, Any, Any]] = {
    "struct": (STRUCT, {"a": 1, "b": None}, {"a": 1}),
    "an empty struct": (STRUCT, {"a": None, "b": None}, {}),
    "large list": (pa.large_list(STRUCT), [{"a": 1, "b": None}, None], [{"a": 1}, None]),
    "fixed list": (pa.list_(STRUCT, 1), [{"a": None, "b": 2}], [{"b": 2}]),
    "list in a list": (pa.list_(pa.list_(STRUCT)), [[{"a": 1, "b": None}]], [[{"a": 1}]]),
    "map": (pa.map_(pa.string(), pa.int64()), [("a", 1), ("b", None)], {"a": 1, "b": None}),
    "map of structs": (pa.map_(pa.string(), STRUCT), [("x", {"a": 1, "b": None})], {"x": {"a": 1}}),
    "dictionary": (
        pa.struct([("w", pa.dictionary(pa.int8(), pa.string())), ("v", pa.string())]),
        {"w": "x", "v": None},
        {"w": "x"},
    ),
    "list of scalars": (pa.list_(pa.int64()), [1, None], [1, None]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_column(kind: str, tmp_path: Path) -> None:
    type_, given, wanted = KINDS[kind]
    path = tmp_path / "a.parquet"
    column = pa.array([{"inner": given}], pa.struct([("inner", type_)]))
    pq.write_table(pa.table({"column": column}), path)
    assert read(path) == [{"column": {"inner": wanted}}]


@pytest.mark.slow
def test_json_columns_are_what_they_say(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    if not hasattr(datasets, "Json"):
        pytest.skip("this version has no Json feature")
    rows = [{"x": {"a": None, "b": [{"c": 1}]}}, {"x": {"d": "e"}}]
    found = datasets.Dataset.from_dict(
        {"row": [row["x"] for row in rows]}, features=datasets.Features({"row": datasets.Json()})
    )
    assert [row["row"] for row in restored_rows(found)] == [row["x"] for row in rows]
    path = tmp_path / "a.parquet"
    found.to_parquet(str(path))
    assert [row["row"] for row in read(path)] == [row["x"] for row in rows]


def test_hub_rows_are_what_they_were() -> None:
    datasets = pytest.importorskip("datasets")
    assert list(restored_rows(datasets.Dataset.from_list(ROWS))) == ROWS
    assert list(restored_rows(datasets.Dataset.from_list(ROWS).to_iterable_dataset())) == ROWS


def test_messages_as_an_object_of_lists_are_rows(tmp_path: Path) -> None:
    columns = {"role": ["user", "assistant"], "content": ["q", "a"], "name": [None, None]}
    pq.write_table(pa.table({"messages": [columns]}), tmp_path / "x.parquet")
    (row,) = read_rows(str(tmp_path / "x.parquet"))
    _, record = read_record(row)  # type: ignore[arg-type, misc]
    assert record.messages == ({"role": "user", "content": "q"}, {"role": "assistant", "content": "a"})  # type: ignore[union-attr]


def test_dates_decimals_and_unmarked_text_are_json_again(tmp_path: Path) -> None:
    said = {
        "d": datetime.date(2024, 1, 2),
        "n": decimal.Decimal("1.5"),
        "w": decimal.Decimal(3),
        "b": b"text",
    }
    pq.write_table(pa.Table.from_pylist([said]), tmp_path / "x.parquet")
    (row,) = read_rows(str(tmp_path / "x.parquet"))
    assert row.value == {"d": "2024-01-02", "n": 1.5, "w": 3, "b": "text"}  # type: ignore[union-attr]


def test_an_empty_cell_of_a_csv_is_no_format(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("messages,text,prompt,completion,label\n,hello,,,\n,,a,b,0.0\n,,a,b,\n")
    found = [read_record(row)[0] for row in read_rows(str(tmp_path / "x.csv"))]  # type: ignore[index, arg-type]
    assert found == ["text", "kto", "completion"]
