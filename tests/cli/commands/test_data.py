"""`edgelm data`: every bad row listed, trained text marked, splits without overlap; `edgelm plan --tune`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

from edgelm.cli.main import main

GOOD = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(10)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama with a chat template."""
    directory = tmp_path_factory.mktemp("tiny-llama")
    write_checkpoint(directory, "llama")
    return directory


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "examples.jsonl", *GOOD)


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_check_says_what_there_is(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(data)]) == 0
    assert capsys.readouterr().out == "10 rows: 10 completion\n"


def test_check_with_a_model_counts_tokens_and_loads_no_weights(
    data: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "model.safetensors").rename(model / "hidden")
    try:
        assert main(["data", "check", str(data), "--model", str(model), "--json"]) == 0
    finally:
        (model / "hidden").rename(model / "model.safetensors")
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == found["train"]["rows"] == 10
    assert 0 < found["train"]["trained_tokens"] < found["train"]["tokens"]
    assert len(found["train"]["sha256"]) == 64


def test_bad_rows_end_in_exit_code_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "bad.jsonl", GOOD[0], {"prompt": "x"}, GOOD[0], {"text": 3})
    assert main(["data", "check", str(path)]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"error {path}:2: completion is missing; keys are prompt",
        f"error {path}:4: text: the number 3, expected text",
        f"warning {path}:3: the same as {path}:1",
        "4 rows: 2 completion",
        "  1 format",
        "  1 field",
        "  1 duplicate",
    ]
    assert "error: 2 of 4 rows cannot be trained\n\nhint: mend or remove these rows" in said.err
    assert main(["data", "check", str(path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [error["line"] for error in found["errors"]] == [2, 4]
    assert found["counts"] == {"format": 1, "field": 1, "duplicate": 1}


def test_long_rows_are_named_with_a_way_out(
    data: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(data), "--model", str(model), "--max-tokens", "4"]) == 1
    assert "--long-rows truncate, split or drop" in capsys.readouterr().err


def test_show_marks_what_is_trained(data: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", str(data), "--model", str(model), "--first", "1"]) == 0
    said = capsys.readouterr()
    assert f"── {data}:1: " in said.out
    assert "<|user|>question 0<|assistant|>⟦answer 0⟧" in said.out
    assert "no token that the model stops at is trained" in said.err


def test_last_turn_is_turns_last(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turns = [("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two")]
    path = write(
        tmp_path / "chat.jsonl", {"messages": [{"role": role, "content": text} for role, text in turns]}
    )
    for flags, marked in (
        ([], "⟦one⟧<|user|>b<|assistant|>⟦two⟧"),
        (["--last-turn"], "one<|user|>b<|assistant|>⟦two⟧"),
    ):
        assert main(["data", "show", str(path), "--model", str(model), *flags]) == 0
        assert f"<|user|>a<|assistant|>{marked}" in capsys.readouterr().out


def test_show_one_line_as_json(data: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", str(data), "--model", str(model), "--line", "3", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["line"] == 3
    (sequence,) = row["sequences"]
    assert [piece["text"] for piece in sequence["text"] if piece["trained"]] == ["answer 2"]
    assert len(sequence["tokens"]) == len(sequence["trained"])
    assert main(["data", "show", str(data), "--model", str(model), "--line", "99"]) == 2
    assert "--line is 99, and no row" in capsys.readouterr().err


def test_colour_stands_for_the_brackets(
    data: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("edgelm.cli.show.output.is_terminal", lambda _: True)
    assert main(["data", "show", str(data), "--model", str(model), "--first", "1"]) == 0
    out = capsys.readouterr().out
    assert "\x1b[32manswer 0\x1b[0m" in out
    assert "⟦" not in out


def test_split_writes_two_files_without_a_prompt_in_both(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "split", str(data), "--share", "0.3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: part["rows"] for name, part in found.items()} == {"train": 7, "valid": 3}
    parts = [
        [json.loads(line) for line in Path(found[name]["path"]).read_text().splitlines()]
        for name in ("train", "valid")
    ]
    assert sorted(parts[0] + parts[1], key=lambda row: int(row["prompt"].split()[1])) == GOOD
    assert main(["data", "check", str(data.with_suffix(""))]) == 0
    assert main(["data", "split", str(data)]) == 1
    assert "already exists" in capsys.readouterr().err


def test_split_refuses_bad_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "bad.jsonl", {"prompt": "x"})
    assert main(["data", "split", str(path)]) == 1
    assert "1 of 1 row cannot be trained" in capsys.readouterr().err
    assert not path.with_suffix("").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check", "missing.jsonl"], 1, "missing.jsonl does not exist"),
        (["show", "x.jsonl", "--model", "none", "--first", "0"], 2, "--first is 0, expected 1 or more"),
        (["check", "x.jsonl", "--model", "m", "--turns", "some"], 2, "turns is 'some', expected one of"),
    ],
)
def test_wrong_use_is_said(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x.jsonl", *GOOD)
    assert main(["data", *arguments]) == code
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_plan_of_training(data: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", str(model), "--tune", "--data", str(data), "--batch-tokens", "64", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    plan = found["plan"]
    assert plan["verdict"] == "fits"
    assert plan["settings"]["batch_tokens"] == 64
    assert plan["shape"]["lanes"] * plan["shape"]["length"] <= 64
    assert found["epoch_seconds"] > 0
    assert main([*command[:-1], "--method", "full"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["verdict"] == "fits"
    assert lines["trained"].startswith(f"{plan['weights_bytes'] // 4:,} parameters")


def test_flags_of_training_need_tune(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(model), "--rank", "4"]) == 2
    assert "--rank is about training\n\nhint: add --tune" in capsys.readouterr().err


def test_rows_that_ask_alone_are_checked_for_rewards(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = write(
        tmp_path / "asked.jsonl", *({"prompt": f"what is {n % 3}", "answer": str(n % 3)} for n in range(4))
    )
    assert main(["data", "check", str(asked)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"warning {asked}:4: the same as {asked}:1",
        "4 rows: 4 question",
        "  1 duplicate",
        "train: 4 questions for --loss grpo, 3 of them different; for rewards: answer",
    ]
    assert main(["data", "check", str(asked), "--model", str(model), "--reward", "numeric", "--json"]) == 0
    train = json.loads(capsys.readouterr().out)["train"]
    assert train["prompts"] == 3
    assert 0 < train["shortest"] <= train["longest"] < train["tokens"]
    assert main(["data", "check", str(asked), "--reward", "tests"]) == 1
    assert "has no 'tests', which the reward tests reads" in capsys.readouterr().out
