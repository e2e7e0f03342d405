"""Removing, renaming and copying models and adapters: what is asked, what is said, and what refers to them after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from tuning import write_chats

import edgelm
from edgelm import paths
from edgelm.cli.main import main
from edgelm.library.lineage import lineage
from edgelm.store.chats import Chats

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def tuned(home: Path, tmp_path: Path) -> Path:
    """A library of `base` (licensed), its adapter `style`, and `fused`; returns the home."""
    write_checkpoint(tmp_path / "source", num_hidden_layers=2)
    (tmp_path / "source" / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    edgelm.convert(tmp_path / "source", name="base", mode="none", dtype="float32", verify=False)
    data = str(write_chats(tmp_path / "chats.jsonl"))
    flags = ["--steps", "1", "--batch-tokens", "128", "--no-compiled", "--answer-tokens", "0"]
    assert main(["tune", "base", "--data", data, "--name", "style", *flags]) == 0
    assert main(["adapters", "fuse", "base", "style", "--name", "fused", "--no-check"]) == 0
    return home


@pytest.mark.slow
def test_life_of_a_library(tuned: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    for directory in (paths.models() / "fused", paths.adapters() / "style"):
        assert lineage(directory).licence == "apache-2.0"
        said = json.loads((directory / "edgelm.json").read_text(encoding="utf-8"))
        assert Path(said["source"]).is_absolute()
        assert all(Path(parent["source"]).is_absolute() for parent in said["parents"])
    capsys.readouterr()

    # Removing a base names what depends on it, and is not done unasked.
    assert main(["models", "remove", "base"]) == 2
    err = capsys.readouterr().err
    assert "without base nothing runs adapter style" in err
    assert "model fused came of base" in err
    assert (paths.models() / "base").is_dir()

    # Renaming keeps every reference.
    chats = Chats()
    chats.create(model="base", settings={"adapter": str(paths.adapters() / "style")})
    chats.close()
    assert main(["models", "rename", "base", "better"]) == 0
    assert main(["adapters", "rename", "style", "manner"]) == 0
    capsys.readouterr()
    assert [parent.name for parent in lineage(paths.models() / "fused").parents] == ["better", "manner"]
    config = json.loads((paths.adapters() / "manner" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["model"] == str(paths.models() / "better")
    assert main(["runs", "show", "style", "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["run"]["model"] == "better"
    assert shown["run"]["adapter"] == str(paths.adapters() / "manner")
    assert shown["run"]["config"]["model"] == str(paths.models() / "better")
    assert Path(shown["run"]["data"]).is_absolute()
    chats = Chats()
    (session,) = chats.sessions()
    chats.close()
    assert (session.model, session.settings["adapter"]) == ("better", str(paths.adapters() / "manner"))
    assert main(["tune", "--resume", "style"]) == 0
    assert "run style is finished" in capsys.readouterr().err

    # A copy is a model of its own; names are names.
    assert main(["models", "copy", "better", "second"]) == 0
    assert main(["models", "copy", "better", "second"]) == 1
    assert main(["models", "rename", "better", "../evil"]) == 2
    assert main(["models", "rename", "bettr", "x"]) == 1
    assert "did you mean better?" in capsys.readouterr().err
    assert main(["ls", "--json"]) == 0
    assert {model["name"] for model in json.loads(capsys.readouterr().out)} == {"better", "fused", "second"}
    assert main(["rm", "-y", "second", "fused"]) == 0
    assert main(["rm", "-y", "manner"]) == 1
    assert "edgelm adapters remove manner" in capsys.readouterr().err
    assert main(["adapters", "remove", "-y", "manner"]) == 0
    assert not (paths.adapters() / "manner").exists()


@pytest.mark.slow
def test_adapters_info_has_no_python_in_it(tuned: Path, capsys: Printed) -> None:
    capsys.readouterr()
    assert main(["adapters", "info", "style"]) == 0
    assert "{" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--targets", "q_prj"], "did you mean q_proj?"),
        (["--layers", "9"], "--layers is '9', but the model has layers 0 to 1"),
        (["--name", "../evil"], "--name is '../evil'"),
        (["--rank-of", "x=3"], "matches none"),
    ],
)
def test_a_run_that_cannot_begin_leaves_nothing(
    flags: list[str], says: str, home: Path, tmp_path: Path, capsys: Printed
) -> None:
    write_checkpoint(tmp_path / "model", num_hidden_layers=2)
    data = str(write_chats(tmp_path / "chats.jsonl"))
    assert main(["tune", str(tmp_path / "model"), "--data", data, *flags]) == 2
    assert says in capsys.readouterr().err
    assert not paths.runs().exists()
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.slow
def test_sizes_are_the_same_everywhere(home: Path, tmp_path: Path, capsys: Printed) -> None:
    write_checkpoint(tmp_path / "model")
    said = []
    for words in (
        ["convert", str(tmp_path / "model"), "--name", "m", "--bits", "8", "--no-verify"],
        ["models", "info", "m"],
        ["plan", "m"],
    ):
        assert main([*words, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        said.append((found["size_bytes"], found["weights_bytes"]))
    assert main(["models", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert len(set(said)) == 1
    assert listed["size_bytes"] == said[0][0]


@pytest.mark.parametrize("library", ["models", "adapters", "runs"])
def test_a_home_that_takes_no_files_lists_as_an_empty_one(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("EDGELM_HOME", str(tmp_path / "file" / "home"))  # refuses root too
    assert main([library]) == 0
    assert main([library, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_model_named_twice_in_two_cases_is_removed_once(home: Path, capsys: Printed) -> None:
    write_checkpoint(paths.models() / "tiny", "llama")
    assert main(["models", "remove", "TINY", "tiny", "--yes", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["tiny"]
    assert list(paths.models().iterdir()) == []
