"""Rows that ask: their forms, what rewards read of them, and what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

from edgelm.errors import FormatError
from edgelm.model.load import load_tokenizer
from edgelm.rewards.registry import read_rewards
from edgelm.tune.rollouts.questions import read_questions
from edgelm.zoo.configs.normalise import read_config


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("base") / "model"
    write_checkpoint(directory, num_hidden_layers=1)
    return load_tokenizer(directory, read_config(directory))


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_every_form_asks(tokenizer: Any, tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "what is 2"}]
    source = written(
        tmp_path / "q.jsonl",
        {"prompt": "what is 2", "answer": "2"},
        {"prompt": chat, "answer": "2"},
        {"messages": [*chat, {"role": "assistant", "content": "3"}], "answer": "2"},
        {"question": "what is 2", "answer": "#### 2", "level": 1},
    )
    with read_rewards(["exact"]) as rewards:
        read = read_questions(source, tokenizer, rewards)
    read.report.require_clean()
    assert len({row.ids for row in read.rows}) == 1
    assert [dict(row.columns) for row in read.rows] == [
        {"answer": "2"}, {"answer": "2"}, {"answer": "2"}, {"answer": "#### 2", "level": 1}
    ]  # fmt: skip
    assert read.rows[0].prompt == "what is 2"


def test_what_is_wrong_is_named_by_its_line(tokenizer: Any, tmp_path: Path) -> None:
    source = written(
        tmp_path / "q.jsonl",
        {"prompt": "what", "answer": "2"},
        {"prompt": "what"},
        {"answer": "2"},
        {"prompt": "  ", "answer": "2"},
        {"messages": [{"role": "assistant", "content": "3"}], "answer": "2"},
        {"prompt": [{"role": "user"}], "answer": "2"},
        {"prompt": "what " * 300, "answer": "2"},
    )
    with read_rewards(["exact"]) as rewards:
        read = read_questions(source, tokenizer, rewards, longest=100)
    assert len(read.rows) == 1
    told = [str(problem).split(".jsonl:")[1] for problem in read.report.problems]
    assert [line[0] for line in told] == list("234567")
    assert "has no 'answer', which the reward exact reads" in told[0]
    assert "nothing is asked" in told[1]
    assert "expected at most 100" in told[5]
    with pytest.raises(FormatError, match="6 of 7 rows"):
        read.report.require_clean()


def test_a_file_without_rows_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text("\n")
    with read_rewards(["length:3"]) as rewards, pytest.raises(FormatError, match="holds no rows"):
        read_questions(str(tmp_path / "q.jsonl"), tokenizer, rewards)


def test_duplicates_are_told_and_empty_or_wordless_answers_refused(tmp_path: Path) -> None:
    source = written(
        tmp_path / "q.jsonl",
        {"prompt": "a", "answer": "2"},
        {"prompt": "a", "answer": "2"},
        {"prompt": "a", "answer": "3"},
        {"prompt": "b", "answer": " "},
        {"prompt": "c", "answer": "many"},
    )
    with read_rewards(["numeric"]) as rewards:
        read = read_questions(source, None, rewards)
    assert [row.ids for row in read.rows] == [(), (), ()]
    told = {str(problem).split(".jsonl:", 1)[1] for problem in read.report.problems}
    assert told == {
        f"2: the same as {source}:1",
        "4: the row has an empty 'answer', which the reward numeric reads",
        "5: the row has 'many' as 'answer', expected a number for the reward numeric",
    }
    assert [problem.severity for problem in read.report.problems if problem.sort == "duplicate"] == [
        "warning"
    ]
