"""Votes become rows that `edgelm tune` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from arena_answers import RuleModel, make_arena, says_all, write_named_model

from edgelm.api import find_model
from edgelm.arena.arena import Arena
from edgelm.errors import OptionError
from edgelm.tune.data.prepare import read_records
from edgelm.tune.data.records import JudgementRecord, PreferenceRecord


def vote_by(arena: Arena, choices: dict[str, str], default: str = "left") -> None:
    """Vote for a contestant (by the length of its name, which its answers hold), or what is said of a question."""
    ballot = arena.ballot()
    while (match := ballot.next()) is not None:
        choice = choices.get(match.messages[-1]["content"], default)
        if choice in ("left", "right"):
            wanted = "number 4" if choice == "left" else "number 9"
            choice = "first" if match.first.endswith(wanted) else "second"
        ballot.vote(match.id, choice)  # type: ignore[arg-type]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_winners_are_chosen_and_tune_reads_them(home: Path, tmp_path: Path) -> None:
    with make_arena(home, prompts=10) as arena:
        vote_by(
            arena,
            {"question 1": "tie", "question 2": "skip", "question 3": "both_bad", "question 4": "right"},
        )
        pairs = arena.training_rows("preferences", validation=0.25)
        labels = arena.training_rows("labels")
    assert (len(pairs.training), len(pairs.validation), pairs.silent) == (5, 2, 3)
    asked = [{row["prompt"][-1]["content"] for row in part} for part in (pairs.training, pairs.validation)]
    assert not asked[0] & asked[1]
    by_question = {row["prompt"][-1]["content"]: row for row in pairs.training + pairs.validation}
    assert by_question["question 4"]["chosen"][0]["content"].endswith("number 9")
    row = by_question["question 5"]
    assert row["prompt"] == [{"role": "user", "content": "question 5"}]
    assert row["rejected"] == [{"role": "assistant", "content": "question 5 as seen at 0.0 by number 9"}]
    assert row["made_under"]["chosen"]["model"] == "left"
    assert row["made_under"]["chosen"]["settings"]["max_tokens"] == 512
    assert pairs.length_ratio == pytest.approx(1.0)
    bad = [row["label"] for row in labels.training if row["prompt"][-1]["content"] == "question 3"]
    assert bad == [False, False]
    assert len(labels.training) == 16
    read = read_records(write(tmp_path / "pairs.jsonl", pairs.training))
    assert not read.report.problems
    assert len(read.records) == 5
    assert all(isinstance(record, PreferenceRecord) for record in read.records)
    read = read_records(write(tmp_path / "labels.jsonl", labels.training))
    assert not read.report.problems
    assert all(isinstance(record, JudgementRecord) for record in read.records)


def test_rows_keep_the_system_prompt_and_pairs_under_two_are_none(home: Path, tmp_path: Path) -> None:
    write_named_model(home, "left")
    write_named_model(home, "right-one")
    system = tmp_path / "system.txt"
    system.write_text("Be brief.")
    with Arena.create(
        [f"left,system={system}", "right-one"], ["question 0", "question 1"], find=find_model, name="t"
    ) as arena:
        arena.answer(find_model, lambda directory: RuleModel(directory, says_all, []))
        vote_by(arena, {})
        assert arena.training_rows("preferences").different_prompts == 2
        good = [row for row in arena.training_rows("labels").training if row["label"]]
        assert good[0]["prompt"][0] == {"role": "system", "content": "Be brief."}
        assert good[0]["made_under"]["system"] == "Be brief."


def test_contradictions_and_duplicates_are_left_out(home: Path) -> None:
    with make_arena(home, prompts=2) as arena:
        vote_by(arena, {})
        row, other = arena.training_rows("preferences").training
        turned = {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
        made = arena.training_rows("preferences", besides=[turned, other])
        assert (made.contradictory, made.duplicates, len(made.training)) == (2, 1, 1)
        with pytest.raises(OptionError, match="below 1"):
            arena.training_rows("preferences", validation=1)
        with pytest.raises(OptionError, match="expected one of preferences"):
            arena.training_rows("pairs")  # type: ignore[arg-type]
