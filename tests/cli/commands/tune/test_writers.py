"""Whatever the command line writes where the user says: never over what is there, unless `--force` says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from tuning import write_chats

from edgelm import paths
from edgelm.cli.main import main


@pytest.mark.parametrize(
    "words",
    [
        "eval m --svg there.svg",
        "bench m --output there.svg",
        "quantize compare m --svg there.svg",
        "models info m --svg there.svg",
        "convert m --bits 4 --svg there.svg",
        "tune m --data d --plot there.svg",
        "runs plot r -o there.svg",
        "convert m -o there.svg",
        "adapters export a -o there.svg",
    ],
)
def test_a_file_that_is_there_stays(
    words: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.svg").write_text("mine", encoding="utf-8")
    write_checkpoint(paths.models() / "m")
    assert main(words.split()) == 1
    assert "there.svg already exists" in capsys.readouterr().err
    assert Path("there.svg").read_text(encoding="utf-8") == "mine"


def test_a_split_replaces_only_when_it_is_forced(home: Path, tmp_path: Path) -> None:
    data = write_chats(tmp_path / "chats.jsonl")
    split = ["data", "split", str(data), "-o", str(tmp_path / "parts")]
    assert main(split) == 0
    before = (tmp_path / "parts" / "train.jsonl").read_bytes()
    assert main([*split, "--seed", "3"]) == 1
    assert (tmp_path / "parts" / "train.jsonl").read_bytes() == before
    assert main([*split, "--seed", "3", "--force"]) == 0
    assert (tmp_path / "parts" / "train.jsonl").read_bytes() != before


@pytest.mark.slow
def test_a_model_is_replaced_by_force_and_nothing_else(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "source")
    convert = ["convert", str(tmp_path / "source"), "--bits", "8", "--no-verify", "--name", "m"]
    assert main(convert) == 0
    (paths.models() / "m" / "note").touch()
    assert main(convert) == 1
    assert (paths.models() / "m" / "note").exists()
    assert main([*convert, "--force"]) == 0
    assert not (paths.models() / "m" / "note").exists()
    assert [path.name for path in paths.models().iterdir()] == ["m"]
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "letter").touch()
    assert main([*convert[:-2], "-o", str(tmp_path / "precious"), "--force"]) == 1
    assert "was not written by edgelm" in capsys.readouterr().err
    assert (tmp_path / "precious" / "letter").exists()


@pytest.mark.slow
def test_curves_are_drawn_in_the_terminal(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "m", num_hidden_layers=2)
    data = str(write_chats(tmp_path / "chats.jsonl"))
    for name in ("one", "two"):
        flags = [
            "--steps",
            "3",
            "--batch-tokens",
            "128",
            "--no-compiled",
            "--answer-tokens",
            "0",
            "--name",
            name,
        ]
        assert main(["tune", str(tmp_path / "m"), "--data", data, *flags]) == 0
    capsys.readouterr()
    assert main(["runs", "plot", "one", "two"]) == 0
    out = capsys.readouterr().out
    assert "smoothed by step" in out
    assert "━ one" in out
    assert "× two" in out
    assert "step 3" in out
    assert not any(line.endswith(" ") for line in out.splitlines())
    assert main(["runs", "plot", "one", "--json"]) == 0
    assert [step for step, _ in json.loads(capsys.readouterr().out)["one"]] == [1, 2, 3]


@pytest.mark.real
def test_a_package_is_planned_before_it_is_converted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "smollm2", "--json"]) == 0
    ahead = json.loads(capsys.readouterr().out)
    assert ahead["model"] == "smollm2-135m-instruct-4bit"
    assert main(["convert", "smollm2", "--no-verify", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["directory"].endswith(ahead["model"])
    assert abs(made["weights_bytes"] - ahead["weights_bytes"]) < 100_000
    assert main(["plan", ahead["model"], "--json"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["plans"][0]["fit"]["weights_bytes"] == ahead["plans"][0]["fit"]["weights_bytes"]
