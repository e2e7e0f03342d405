"""Duplicates, empty answers, overlaps, lengths and splits: said, counted, and never silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_templates import make_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm.errors import OptionError, PromptError
from edgelm.tune.data.prepare import Prepared, prepare, read_all, read_records
from edgelm.tune.data.records import CompletionRecord
from edgelm.tune.data.rows import Example, RowOrigin
from edgelm.tune.data.settings import DataSettings
from edgelm.tune.data.split import split_by_prompt


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def ask(prompt: str, answer: str) -> dict[str, str]:
    return {"prompt": prompt, "completion": answer}


def prepared(path: str, **changes: Any) -> Prepared:
    return prepare(path, make_tokenizer("chatml"), DataSettings(**changes))


def test_duplicates_are_warned_of_with_the_first(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ask("a", "1"), ask("b", "2"), ask("a", "1"), ask("a", "3"))
    (problem,) = read_records(path).report.problems
    assert (problem.origin.line, problem.sort, problem.severity) == (3, "duplicate", "warning")
    assert problem.reason == f"the same as {path}:1"


def test_some_empty_answers_are_warned_of(tmp_path: Path) -> None:
    chat = [
        {"role": role, "content": text}
        for role, text in (("user", "a"), ("assistant", ""), ("user", "b"), ("assistant", "c"))
    ]
    (problem,) = read_records(write(tmp_path / "a.jsonl", {"messages": chat})).report.problems
    assert (problem.field, problem.sort, problem.severity) == (
        "messages[1].content",
        "empty answer",
        "warning",
    )


def test_prompts_in_training_and_validation_are_warned_of(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", ask("a", "1"), ask("b", "2"))
    other = write(tmp_path / "b.jsonl", ask("c", "1"), ask("b", "3"))
    (problem,) = read_all(train, other).report.problems
    assert (str(problem.origin), problem.sort) == (f"{other}:2", "overlap")
    assert problem.reason.endswith(f"at {train}:2")


def test_validation_of_another_kind_is_refused(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", ask("a", "1"))
    other = write(tmp_path / "b.jsonl", {"prompt": "a", "chosen": "b", "rejected": "c"})
    assert "a row for preferences" in read_all(train, other).report.errors[0].reason


def test_long_rows_are_refused_cut_split_or_dropped_and_it_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "abcdefghij"}, {"text": "xy"})
    refused = prepared(path, max_tokens=5)
    assert [problem.reason for problem in refused.report.errors] == [
        "11 tokens, more than 5 (--max-tokens, --long-rows)"
    ]
    cut = prepared(path, max_tokens=5, long_rows="truncate")
    assert [len(sequence.tokens) for sequence in cut.train.sequences] == [5, 3]
    assert cut.train.changes == ("1 row of more than 5 tokens truncated",)
    dropped = prepared(path, max_tokens=5, long_rows="drop")
    assert len(dropped.train) == 1
    assert dropped.report.counts == {"too long": 1}
    assert not dropped.report.errors


def test_pieces_of_a_text_train_every_token_once(tmp_path: Path) -> None:
    whole = prepared(write(tmp_path / "a.jsonl", {"text": "abcdefghij"}))
    split = prepared(str(tmp_path / "a.jsonl"), max_tokens=4, long_rows="split")
    (row,) = whole.train.sequences
    pieces = list(split.train.sequences)
    assert all(len(piece.tokens) <= 4 for piece in pieces)
    assert split.train.target_count == whole.train.target_count == len(row.tokens) - 1
    joined = [token for piece in pieces for token in piece.tokens[1:]]
    assert joined == list(row.tokens[1:])
    assert split.train.changes == ("1 row of more than 4 tokens split",)


@given(size=st.integers(2, 60), limit=st.integers(2, 20))
@settings(max_examples=50, deadline=None)
def test_any_text_can_be_split(size: int, limit: int) -> None:
    from edgelm.tune.data.encoding.lengths import LengthRule
    from edgelm.tune.data.records import TextRecord

    row = Example(tuple(range(size)), (False, *(True,) * (size - 1)), RowOrigin("a", 1))
    rule = LengthRule(DataSettings(max_tokens=limit, long_rows="split"))
    rows, _ = rule.apply(row, TextRecord("", row.origin))
    assert sum(piece.target_count for piece in rows) == size - 1
    assert all(piece.target_count for piece in rows)


def test_chats_need_a_template(tmp_path: Path) -> None:
    from chat_templates import make_fast
    from mlx_lm.tokenizer_utils import TokenizerWrapper

    fast = make_fast("chatml")
    fast.chat_template = None
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    with pytest.raises(PromptError, match="this model has no chat template") as refused:
        prepare(write(tmp_path / "a.jsonl", chat), TokenizerWrapper(fast))
    assert refused.value.hint
    plain = prepare(write(tmp_path / "b.jsonl", ask("a", "b")), TokenizerWrapper(fast))
    assert len(plain.train) == 1


def test_held_out_rows_share_no_prompt_with_training(tmp_path: Path) -> None:
    rows = [ask(f"question {n % 20}", f"answer {n}") for n in range(60)]
    path = write(tmp_path / "a.jsonl", *rows)
    found = prepare(path, make_tokenizer("chatml"), hold_out=0.2, seed=1)
    assert found.validation is not None
    assert len(found.train) + len(found.validation) == 60
    assert len(found.validation) == 12
    prompts = [
        {row.tokens[: row.prompt_size] for row in part.sequences} for part in (found.train, found.validation)
    ]
    assert not prompts[0] & prompts[1]


@given(prompts=st.lists(st.integers(0, 5), min_size=2, max_size=30), share=st.floats(0.01, 0.99))
@settings(max_examples=80, deadline=None)
def test_a_split_keeps_every_row_and_never_empties_a_part(prompts: list[int], share: float) -> None:
    records = [
        CompletionRecord(str(prompt), str(at), RowOrigin("a", at)) for at, prompt in enumerate(prompts)
    ]
    if len(set(prompts)) < 2:
        with pytest.raises(OptionError, match="1 different prompt, expected at least 2"):
            split_by_prompt(records, records, share, 0)
        return
    first, second = split_by_prompt(records, records, share, 0)
    assert sorted(first + second, key=lambda record: record.origin) == records
    assert first
    assert second
    assert not {record.prompt for record in first} & {record.prompt for record in second}
    assert (first, second) == split_by_prompt(records, records, share, 0)


def test_a_share_is_checked() -> None:
    with pytest.raises(OptionError, match="share is 1, expected more than 0 and less than 1"):
        split_by_prompt([], [], 1.0, 0)
