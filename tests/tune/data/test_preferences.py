"""Pairs and verdicts in the forms in which they are written, and what is said of them before they train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_templates import make_tokenizer

from edgelm.tune.data.prepare import prepare, read_records
from edgelm.tune.data.rows import Judged, Pair

USER, GOOD, BAD = (
    {"role": "user", "content": "what boils"},
    {"role": "assistant", "content": "the water boils"},
    {"role": "assistant", "content": "number is cold"},
)


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "what boils", "chosen": "the water boils", "rejected": "number is cold"},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [USER], "chosen": GOOD, "rejected": BAD},
        {"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"chosen": "\n\nHuman: what boils\n\nAssistant: the water boils",
         "rejected": "\n\nHuman: what boils\n\nAssistant: number is cold"},
    ],
)  # fmt: skip
def test_every_form_of_a_pair_says_the_same(row: dict[str, Any], tmp_path: Path) -> None:
    (record,) = read_records(write(tmp_path / "rows.jsonl", row)).records
    assert (record.prompt, record.chosen, record.rejected) == ((USER,), (GOOD,), (BAD,))  # type: ignore[union-attr]
    prepared = prepare(write(tmp_path / "rows.jsonl", row), make_tokenizer("chatml"))
    assert not prepared.report.errors
    (pair,) = prepared.train.rows
    assert isinstance(pair, Pair)
    size = pair.chosen.prompt_size
    assert pair.chosen.tokens[:size] == pair.rejected.tokens[:size]
    tokenizer = make_tokenizer("chatml")
    for side in pair.sequences:
        last = max(at for at, is_trained in enumerate(side.trained) if is_trained)
        assert side.tokens[last] in tokenizer.eos_token_ids


@pytest.mark.parametrize(
    ("label", "expected"), [(True, True), (-1, False), (1, True), ("👎", False), ("up", True)]
)
def test_thumbs_are_verdicts(label: object, expected: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", {"prompt": [USER], "completion": [GOOD], "label": label})
    (row,) = prepare(path, make_tokenizer("chatml")).train.rows
    assert isinstance(row, Judged)
    assert row.is_desirable == expected


def test_verdicts_of_one_kind_are_told(tmp_path: Path) -> None:
    rows = [{"prompt": f"what is {n}", "completion": "cold", "label": True} for n in range(3)]
    (problem,) = read_records(write(tmp_path / "rows.jsonl", *rows)).report.problems
    assert (problem.sort, problem.severity) == ("one label", "warning")
    assert "all 3 answers are desirable" in problem.reason


def test_sides_whose_length_gives_them_away_are_told(tmp_path: Path) -> None:
    rows = [{"prompt": f"what is {n}", "chosen": "cold " * 9, "rejected": "wet"} for n in range(3)]
    (problem,) = read_records(write(tmp_path / "rows.jsonl", *rows)).report.problems
    assert problem.sort == "length ratio"
    assert "3 of 3 are longer" in problem.reason
    fair = [{"prompt": f"what is {n}", "chosen": "cold", "rejected": "warm"} for n in range(3)]
    assert not read_records(write(tmp_path / "rows.jsonl", *fair)).report.problems
