"""Showing a receipt: figures with their errors, round-to-nearest beside, the layers as a chart."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
from receipts import RECEIPT

from edgelm.cli.main import main
from edgelm.cli.show.layer_chart import plot_layers
from edgelm.cli.show.quality_rows import receipt_rows, show, show_share
from edgelm.errors import OptionError
from edgelm.evaluate.receipt import LayerLoss
from edgelm.evaluate.scores import Estimate
from edgelm.library.manifest import Manifest


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        (Estimate(0.0543, 0.0021), "0.0543 ± 0.0021"),
        (Estimate(17.84, 0.6), "17.84 ± 0.60"),
        (Estimate(1234.5, 67.0), "1234 ± 67"),
        (Estimate(0.5, math.nan), "0.5"),
        (Estimate(0.0, 0.0), "0"),
    ],
)
def test_an_error_decides_the_digits(estimate: Estimate, shown: str) -> None:
    assert show(estimate) == shown


def test_shares_are_percent() -> None:
    assert show_share(Estimate(0.875, 0.006)) == "87.5% ± 0.6%"
    assert show_share(Estimate(1.0, math.nan)) == "100.0%"


def test_the_rows_say_what_was_lost() -> None:
    rows = dict(receipt_rows(RECEIPT))
    assert rows["quality"] == "best, 4.52 bits per weight, 93 MB"
    assert rows["mean KL"] == ("0.0543 ± 0.0021 nats, 0.15 of round-to-nearest's 0.369 ± 0.012 at this size")
    assert rows["perplexity"] == "17.80 ± 0.60 (source 16.90 ± 0.55)"
    assert rows["largest errors"].startswith("model.layers.0.mlp.down_proj 0.05, model.layers.0.self_attn")
    assert rows["quantizing took"] == (
        "3:01, peak memory 910 MB, calibrated on 24,576 tokens of the shipped text"
    )


def test_what_is_not_known_is_left_out() -> None:
    bare = dataclasses.replace(
        RECEIPT, rounded_kl=None, layers=(), elapsed_s=None, peak_memory_bytes=None, calibration={}, kl_by_domain={}
    )  # fmt: skip
    rows = dict(receipt_rows(bare))
    assert rows["mean KL"] == "0.0543 ± 0.0021 nats"
    assert not {"largest errors", "quantizing took", "mean KL by domain"} & rows.keys()


@pytest.mark.slow
def test_the_chart_has_a_row_for_each_kind(tmp_path: Path) -> None:
    path = tmp_path / "layers.svg"
    plot_layers(path, RECEIPT, title="tiny, best")
    drawn = path.read_text()
    for text in (
        "tiny, best",
        "q_proj",
        "down_proj",
        "embed_tokens",
        "relative output error",
        "4.5",
        "6.5",
        ">in<",
    ):
        assert text in drawn


@pytest.mark.slow
def test_the_chart_shows_kl_where_it_was_measured_and_takes_one_width(tmp_path: Path) -> None:
    layers = [LayerLoss(f"model.layers.{at}.mlp.experts.{expert}.up_proj", 4, 64, kl=0.1 * at)
              for at in range(60) for expert in range(2)]  # fmt: skip
    plot_layers(tmp_path / "a.svg", dataclasses.replace(RECEIPT, layers=tuple(layers)), title="")
    assert "mean KL, alone" in (tmp_path / "a.svg").read_text()


def test_a_chart_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="lists no layers"):
        plot_layers(tmp_path / "a.svg", dataclasses.replace(RECEIPT, layers=()), title="")


@pytest.fixture
def model(home: Path) -> str:
    """An installed model whose manifest has a receipt."""
    directory = home / "models" / "tiny-4bit"
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 8}))
    import mlx.core as mx

    mx.save_safetensors(str(directory / "model.safetensors"), {"a.weight": mx.zeros((4, 8))})
    receipt = {"elapsed_s": 2.0, "quality": RECEIPT.as_json()}
    Manifest(source="somewhere", kind="huggingface", receipt=receipt).write(directory)
    return "tiny-4bit"


@pytest.mark.slow
def test_models_info_shows_the_quality_and_draws_it(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "info", model, "--svg", str(tmp_path / "a.svg")]) == 0
    shown = capsys.readouterr().out
    assert "0.0543 ± 0.0021 nats, 0.15 of round-to-nearest's" in shown
    assert "standard_error" not in shown
    assert "tiny-4bit, best, 4.52 bits per weight" in (tmp_path / "a.svg").read_text()


def test_models_info_json_has_the_whole_receipt(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "info", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["receipt"]["quality"] == RECEIPT.as_json()


def test_drawing_what_was_not_measured_is_refused(
    model: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Manifest(source="somewhere", kind="huggingface").write(home / "models" / model)
    assert main(["models", "info", model, "--svg", str(tmp_path / "a.svg")]) == 1
    assert "without measuring what it lost" in capsys.readouterr().err
