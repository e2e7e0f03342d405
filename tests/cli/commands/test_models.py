from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from fake_hub import FakeHub

from edgelm import paths
from edgelm.cli.main import main
from edgelm.library.manifest import Manifest

pytestmark = pytest.mark.usefixtures("home")

CONFIG = {"model_type": "llama", "max_position_embeddings": 8192}
HEADER = json.dumps({"norm": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(8)
PUBLISHED = {
    "config.json": json.dumps(CONFIG).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": WEIGHTS,
    "README.md": b"#",
}


def install(name: str) -> Path:
    directory = paths.models() / name
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "model.safetensors").write_bytes(WEIGHTS)
    Manifest(
        source="org/model",
        kind="gguf",
        revision="abc123",
        licence="mit",
        recipe={"bits": 4, "group_size": 64},
        bits_per_weight=4.5,
        receipt={"elapsed_s": 3.2, "comparison": {"mean_kl": 0.01}, "left_unquantized": ["lm_head"]},
        parents=[{"source": "org/base", "sha256": {}}],
    ).write(directory)
    return directory


class Terminal(io.StringIO):
    """A person at the keyboard."""

    def isatty(self) -> bool:
        return True


# list


@pytest.mark.parametrize("words", [["models"], ["models", "list"]])
def test_list_is_a_table_on_stdout(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    install("tiny-4bit")
    install("other[0m]")
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["name", "size", "bits", "architecture", "licence", "source"]
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["other[0m]", "tiny-4bit"]
    assert out.splitlines()[2].split()[-4:] == ["4.5", "llama", "mit", "org/model"]


@pytest.mark.parametrize("words", [["models", "--json"], ["models", "list", "--json"]])
def test_list_as_json(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    directory = install("tiny-4bit")
    assert main(words) == 0
    (model,) = json.loads(capsys.readouterr().out)
    assert (model["name"], model["directory"]) == ("tiny-4bit", str(directory))
    assert (model["bits_per_weight"], model["context_length"]) == (4.5, 8192)


def test_an_empty_library_is_said_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "edgelm convert smollm2" in said.err
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_broken_model_is_listed_with_its_problem(capsys: pytest.CaptureFixture[str]) -> None:
    (install("tiny") / "config.json").unlink()
    assert main(["models"]) == 0
    assert "does not exist" in capsys.readouterr().out


# info


def test_info_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    directory = install("tiny")
    assert main(["models", "info", "TINY"]) == 0
    lines = capsys.readouterr().out.splitlines()
    facts = dict(line.split("\t", 1) for line in lines)
    assert facts["directory"] == str(directory)
    assert facts["bits per weight"] == "4.5"
    assert facts["context length"] == "8,192 tokens"
    assert facts["licence"] == "mit"
    assert facts["revision"] == "abc123"
    assert facts["parents"] == "org/base"
    assert facts["recipe.group_size"] == "64"
    assert facts["receipt.comparison.mean_kl"] == "0.01"
    assert facts["receipt.left_unquantized"] == "lm_head"
    assert facts["network"].startswith(("proved equal", "not proved", "known to differ"))
    assert f"file\tmodel.safetensors, {len(WEIGHTS)} B" in lines


def test_info_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    directory = install("tiny")
    assert main(["models", "info", str(directory), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["recipe"] == {"bits": 4, "group_size": 64}
    assert said["receipt"]["comparison"] == {"mean_kl": 0.01}
    assert said["files"]["model.safetensors"] == len(WEIGHTS)
    assert (said["model_type"], said["context_length"]) == ("llama", 8192)


def test_info_of_a_model_without_a_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    (install("tiny") / "edgelm.json").unlink()
    assert main(["models", "info", "tiny"]) == 0
    out = capsys.readouterr().out
    assert "bits per weight\t32.0" in out
    assert "licence" not in out


def test_info_of_what_is_not_there_has_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    install("tiny-4bit")
    assert main(["models", "info", "tiny-3bit"]) == 1
    assert "did you mean tiny-4bit?" in capsys.readouterr().err


def test_info_of_a_broken_model_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    (install("tiny") / "config.json").write_text("{")
    assert main(["models", "info", "tiny"]) == 1
    assert "edgelm models remove tiny" in capsys.readouterr().err


# pull


def test_pull_downloads_and_names_the_model(fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    fake_hub.add("org/Tiny", PUBLISHED, branches=("main", "v2"))
    assert main(["models", "pull", "org/Tiny"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("tiny (")
    assert "32 bits per weight" in said.out
    assert "Downloading" in said.err
    assert "edgelm convert tiny" in said.err
    assert main(["models", "pull", "org/Tiny", "--revision", "v2", "--name", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "mine"


def test_pull_of_an_unknown_repository_fails(fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "org/nothing"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "no repository org/nothing" in said.err
    assert main(["models", "pull", "nothing"]) == 1
    assert "not a Hub id" in capsys.readouterr().err


# remove


def test_remove_asks_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = install("tiny")
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert main(["models", "remove", "tiny"]) == 0
    said = capsys.readouterr()
    assert "Remove tiny (" in said.err
    assert "nothing was removed" in said.err
    assert tiny.exists()
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert main(["models", "remove", "tiny"]) == 0
    assert capsys.readouterr().out.startswith("removed tiny: ")
    assert not tiny.exists()


def test_remove_takes_silence_for_no(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = install("tiny")
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert main(["models", "remove", "tiny"]) == 0
    assert tiny.exists()


def test_remove_without_a_terminal_needs_yes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = install("tiny")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["models", "remove", "tiny"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert tiny.exists()
    assert main(["models", "remove", "tiny", "--yes", "--json"]) == 0
    (removed,) = json.loads(capsys.readouterr().out)
    assert removed["name"] == "tiny"
    assert removed["freed_bytes"] > 0
    assert not tiny.exists()


def test_remove_checks_every_name_before_the_first_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    tiny = install("tiny")
    assert main(["models", "remove", "-y", "tiny", "tinny"]) == 1
    assert "did you mean tiny?" in capsys.readouterr().err
    assert tiny.exists()


def test_removing_what_the_cache_shares_says_where_it_still_is(
    fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_hub.add("org/Tiny", {**PUBLISHED, "tokenizer.json": b" " * 5000})
    assert main(["models", "pull", "org/Tiny"]) == 0
    capsys.readouterr()
    assert main(["models", "remove", "-y", "tiny"]) == 0
    assert "hf cache ls" in capsys.readouterr().err
