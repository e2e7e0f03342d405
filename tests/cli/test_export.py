"""`edgelm export`: what it prints, and how it refuses."""

from __future__ import annotations

import json

import pytest
from checkpoints import write_checkpoint

from edgelm.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("export") / "model"
    write_checkpoint(directory, "qwen3")
    return directory


def test_a_file_and_what_was_changed(model, tmp_path, capsys):
    target = tmp_path / "model.gguf"
    assert main(["export", str(model), "--gguf", str(target), "--type", "q8_0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == [str(target)]
    assert told["size_bytes"] == target.stat().st_size
    assert set(told["types"]) == {"F32", "Q8_0"}
    assert told["comparison"]["mean_kl"] < 1e-2

    assert main(["export", str(model), "--gguf", str(target)]) != 0
    assert "already exists" in capsys.readouterr().err


def test_rows_for_people(model, tmp_path, capsys):
    assert main(["export", str(model), "--gguf", str(tmp_path / "model.gguf")]) == 0
    printed = capsys.readouterr().out
    assert "no tensor: all values are what they were" in printed
    assert "mean KL 0 nats" in printed


def test_a_type_that_there_is_not(model, tmp_path, capsys):
    assert main(["export", str(model), "--gguf", str(tmp_path / "model.gguf"), "--type", "q9"]) != 0
    assert "expected one of auto" in capsys.readouterr().err
