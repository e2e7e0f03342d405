"""transformers as a judge: it sees what edgelm's comparison with its own reading of a source cannot."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from checkpoints import write_checkpoint

from edgelm.errors import UnsupportedError
from edgelm.zoo.configs import rope
from edgelm_converters.convert import convert
from edgelm_converters.result.judge import ask, child
from edgelm_converters.result.judge.ask import check_judge

pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.usefixtures("children_with_torch")]


def receipt_of(source: Path, output: Path, **settings: Any) -> dict[str, Any]:
    return convert(source, output, verify="transformers", dtype="float32", **settings).manifest.receipt


@pytest.fixture
def in_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge answers in this process, which has imported torch already."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        child.run(json.loads(Path(command[-1]).read_text()))
        return subprocess.CompletedProcess(command, 0, b"", b"")

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "TRANSFORMERS_VERBOSITY"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back at the end
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(ask, "subprocess", SimpleNamespace(**{**vars(subprocess), "run": run}))


def test_the_judge_is_a_process_of_its_own(tmp_path: Path) -> None:
    check_honest_reading("llama", tmp_path)


@pytest.mark.usefixtures("in_here")
@pytest.mark.parametrize("architecture", ["qwen3_moe", "gemma2", "mamba2"])
def test_an_honest_reading_is_judged_alike(architecture: str, tmp_path: Path) -> None:
    check_honest_reading(architecture, tmp_path)


def check_honest_reading(architecture: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "source", architecture, shard="100KB")
    judgement = receipt_of(tmp_path / "source", tmp_path / "made", mode="none")["judgement"]
    assert judgement["alike"]
    assert judgement["source"]["max_relative"] < 1e-4
    assert judgement["result"]["mean_kl"] < 1e-6
    assert judgement["transformers"]
    assert judgement["torch"]


@pytest.mark.usefixtures("in_here")
def test_what_quantization_costs_is_not_blamed_on_the_network(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "source", "llama")
    receipt = receipt_of(tmp_path / "source", tmp_path / "made", bits=4, group_size=32, quality="rtn")
    judgement = receipt["judgement"]
    assert judgement["alike"]
    assert judgement["result"]["mean_kl"] > 1e-3
    assert judgement["result"]["mean_kl"] == pytest.approx(receipt["comparison"]["mean_kl"], rel=0.01)
    assert "as edgelm reads them" in receipt["compared"]


@pytest.mark.usefixtures("in_here")
def test_a_wrong_rope_base_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Today's comparison calls it 0 nats: both sides are read with the same wrong base."""
    write_checkpoint(tmp_path / "source", "llama")
    flat = rope._write_flat_keys

    def lose_the_base(config: dict[str, Any], nested: dict[str, Any]) -> None:
        flat(config, nested)
        config["rope_theta"] = 10_000.0

    monkeypatch.setattr(rope, "_write_flat_keys", lose_the_base)
    receipt = receipt_of(tmp_path / "source", tmp_path / "made", mode="none")
    assert receipt["comparison"]["mean_kl"] < 1e-6
    assert not receipt["judgement"]["alike"]
    assert receipt["judgement"]["source"]["mean_kl"] > 1e-3


def test_without_torch_the_extra_is_named_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "source", "llama")
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else there(name, *rest)
    )
    with pytest.raises(
        UnsupportedError, match=r"needs torch, which is not installed\nhint: pip install 'edgelm\[verify\]'"
    ):
        convert(tmp_path / "source", tmp_path / "made", verify="transformers")
    assert not (tmp_path / "made").exists()


def test_what_transformers_cannot_read_is_refused_in_words() -> None:
    with pytest.raises(UnsupportedError, match="transformers reads no MLX's packed weights"):
        check_judge("huggingface", {"quantization": {"bits": 4}})
    with pytest.raises(UnsupportedError, match="transformers reads no meta checkpoints"):
        check_judge("meta", {})


def test_a_source_that_transformers_fails_at_is_converted_and_the_receipt_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "source", "llama")
    monkeypatch.setattr(ask, "_CHILD", tmp_path / "child.py")
    (tmp_path / "child.py").write_text("raise SystemExit('no such kernel')")
    receipt = receipt_of(tmp_path / "source", tmp_path / "made", mode="none")
    assert receipt["judgement"] is None
    assert any(
        "transformers could not verify the source: its process ended with no such kernel" in note
        for note in receipt["notes"]
    )
