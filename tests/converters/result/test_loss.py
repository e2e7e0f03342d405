"""The loss that a conversion measures by streaming, beside the same models loaded and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

from edgelm.cli.main import main
from edgelm.errors import OptionError
from edgelm.evaluate.compare import Comparison
from edgelm.evaluate.quality import Subject, comparison_of, evaluate
from edgelm.evaluate.receipt import QualityReceipt, quality_of
from edgelm.evaluate.rows import Measuring
from edgelm.library.manifest import Manifest
from edgelm_converters.convert import convert

TOKENS = 1024


@pytest.fixture(scope="module", params=["qwen3", "gemma2", "mixtral"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny checkpoints: tied, with a soft cap, with experts."""
    directory = tmp_path_factory.mktemp(request.param) / "source"
    tied = {} if request.param == "mixtral" else {"tie_word_embeddings": True}
    write_checkpoint(directory, request.param, **tied)
    return directory


only_qwen3 = pytest.mark.parametrize("source", ["qwen3"], indirect=True)
"""Where the architecture does not matter."""


def converted(source: Path, name: str, **settings: Any) -> Path:
    settings = {"quality": "rtn", **settings}
    made = convert(source, source.parent / name, bits=4, group_size=32, dtype="float32", **settings)
    return made.directory


def receipt_of(directory: Path) -> QualityReceipt:
    manifest = Manifest.read(directory)
    assert manifest is not None
    quality = quality_of(manifest.receipt)
    assert quality is not None
    return quality


def loaded(source: Path, made: Path) -> Comparison:
    found = evaluate(Subject(made), reference=Subject(source), measuring=Measuring(tokens=TOKENS))
    comparison = comparison_of(found)
    assert comparison is not None
    return comparison


@pytest.mark.slow
def test_streamed_figures_are_those_of_the_loaded_models(source: Path) -> None:
    rounded = converted(source, "rtn", loss_tokens=TOKENS)
    searched = converted(source, "fast", quality="fast", loss_tokens=TOKENS)
    expected, found = loaded(source, searched), receipt_of(searched)
    assert (found.tokens, found.rows) == (expected.tokens, expected.rows)
    for name in ("mean_kl", "p99_kl", "perplexity"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.value == pytest.approx(other.value, rel=2e-3)
        assert one.standard_error == pytest.approx(other.standard_error, rel=2e-2)
    assert found.source_perplexity.value == pytest.approx(expected.reference_perplexity.value, rel=1e-4)
    assert found.rounded_kl is not None
    assert found.rounded_kl.value == pytest.approx(loaded(source, rounded).mean_kl.value, rel=2e-3)
    assert receipt_of(rounded).mean_kl.value == pytest.approx(found.rounded_kl.value, rel=1e-5)
    assert receipt_of(rounded).rounded_kl is None


@pytest.mark.slow
def test_the_receipt_lists_every_layer(source: Path) -> None:
    directory = converted(source, "good", quality="good", loss_tokens=512, calibration_tokens=2048)
    receipt, manifest = receipt_of(directory), Manifest.read(directory)
    assert manifest is not None
    assert receipt.bits_per_weight == manifest.bits_per_weight
    assert receipt.size_bytes == manifest.size_bytes
    assert receipt.method == "good"
    assert receipt.calibration == {"source": "shipped", "tokens": 2048, "seed": 0}
    paths = [layer.path for layer in receipt.layers]
    assert len(paths) == len(set(paths)) > 20
    weights = sum(layer.weights for layer in receipt.layers)
    assert 0.95 < weights / manifest.receipt["parameters"] <= 1
    reached = [layer for layer in receipt.layers if "layers." in layer.path]
    assert all(layer.tokens and layer.relative_error is not None for layer in reached)
    assert all((layer.bits, layer.group_size) == (4, 32) for layer in receipt.layers)


@pytest.mark.slow
@only_qwen3
def test_rounding_is_not_measured_unless_asked(source: Path) -> None:
    manifest = Manifest.read(converted(source, "plain"))
    assert manifest is not None
    assert manifest.receipt["quality"] is None
    assert manifest.receipt["comparison"]["tokens"] > 0


@pytest.mark.slow
@only_qwen3
def test_less_than_a_row_is_refused_and_leaves_nothing(source: Path) -> None:
    with pytest.raises(OptionError, match="tokens is 5, expected 256 to"):
        converted(source, "short", loss_tokens=5)
    assert not (source.parent / "short").exists()


@pytest.mark.slow
@only_qwen3
def test_convert_shows_and_draws_it(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        f"convert {source} -o {tmp_path / 'made'} --bits 3 --group-size 32 --quality fast --loss-tokens 512"
    )
    assert main([*words.split(), "--svg", str(tmp_path / "a.svg")]) == 0
    shown = capsys.readouterr().out
    assert "of round-to-nearest's" in shown
    assert "same first choice" in shown
    assert "q_proj" in (tmp_path / "a.svg").read_text()


def test_a_chart_of_what_is_not_measured_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "nothing", "--quality", "rtn", "--svg", str(tmp_path / "a.svg")]) == 2
    assert "that is not measured" in capsys.readouterr().err


@pytest.mark.slow
@only_qwen3
def test_a_budget_says_what_each_layer_costs_alone(source: Path, home: Path) -> None:
    made = convert(
        source, source.parent / "budget", bpw=5.5, quality="good", dtype="float32", loss_tokens=512,
        calibration_tokens=2048,
    )  # fmt: skip
    receipt = receipt_of(made.directory)
    costs = [layer.kl for layer in receipt.layers]
    assert all(cost is not None and cost >= 0 for cost in costs)
    assert max(cost or 0 for cost in costs) < 10 * receipt.mean_kl.value
    assert len({(layer.bits, layer.group_size) for layer in receipt.layers}) > 1
