"""`edgelm plan`: from a directory's headers to words and JSON; no weight is read."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from fake_hub import FakeHub
from mlx.utils import tree_flatten

from edgelm.cli.commands import plan
from edgelm.errors import NotFoundError, OptionError, UnsupportedError
from edgelm.pricing import machine_rates as probe
from edgelm.zoo.network import build_network

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 128,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
KV_BYTES_PER_TOKEN = 2 * 2 * 2 * 16 * 2  # layers, keys and values, heads, width, bfloat16


def _publish(directory: Path, bits: int | None = None) -> Path:
    directory.mkdir(parents=True)
    network = build_network(CONFIG, directory)
    network.set_dtype(mx.bfloat16)
    config = CONFIG
    if bits is not None:
        nn.quantize(network, 64, bits)
        config = {**CONFIG, "quantization": {"bits": bits, "group_size": 64}}
    mx.save_safetensors(str(directory / "model.safetensors"), dict(tree_flatten(network.parameters())))
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer.json").write_text("{}")
    return directory


@pytest.fixture
def tiny(home: Path) -> Path:
    """A bfloat16 llama in the library."""
    return _publish(home / "models" / "tiny")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as server:
        server.point_at(monkeypatch, tmp_path / "huggingface" / "hub")
        yield server


def _run(*words: str) -> None:
    parser = argparse.ArgumentParser()
    plan.add_arguments(parser)
    plan.run(parser.parse_args(words))


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    _run(*words, "--json")
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_a_named_chip_gets_the_numbers(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = _json(capsys, "tiny", "--chip", "M3 Pro", "--memory", "18")
    stored, *others = said["plans"]
    weights = (tiny / "model.safetensors").stat().st_size
    assert said["device"]["chip"] == "Apple M3 Pro"
    assert said["bandwidth"] == {"bytes_per_s": 150e9, "source": "published"}
    assert abs(stored["fit"]["weights_bytes"] - weights) < 4096  # the header
    assert stored["fit"]["kv_bytes_per_token"] == KV_BYTES_PER_TOKEN
    assert stored["fit"]["verdict"] == "fits"
    assert stored["fit"]["context_tokens"] == stored["fit"]["max_context"] == 2048
    assert stored["decode_roof_tokens_per_s"] == pytest.approx(150e9 / stored["fit"]["weights_bytes"])
    assert [other["bits"] for other in others] == [8, 6, 4, 3]
    sizes = [item["fit"]["weights_bytes"] for item in said["plans"]]
    assert sizes == sorted(sizes, reverse=True)


def test_this_machine_is_measured(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "measure_read_bytes_per_s", lambda: 5e9)
    said = _json(capsys, str(tiny), "--context", "100")
    assert said["plans"][0]["fit"]["context_tokens"] == 100
    if said["device"]["backend"] == "cpu":
        assert said["bandwidth"] == {"bytes_per_s": 5e9, "source": "measured"}
        assert len(said["plans"]) == 1


def test_bits_plan_a_conversion(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (planned,) = _json(capsys, "tiny", "--chip", "M1", "--memory", "8", "--bits", "4")["plans"]
    converted = _publish(tiny.parent / "tiny-4bit", bits=4)
    said = _json(capsys, str(converted), "--chip", "M1", "--memory", "8")["plans"]
    assert len(said) == 1
    assert planned["fit"] == said[0]["fit"]
    assert planned["bits_per_weight"] == 4.5


def test_the_words(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run("tiny", "--chip", "M3 Pro", "--memory", "18")
    shown = capsys.readouterr().out
    for part in (
        "tiny on Apple M3 Pro with 18 GiB",
        "fits at 2,048 tokens",
        "for each 1,000 tokens",
        "at most",
        "150 GB/s",
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--chip", "M3"], "--chip needs --memory"),
        (["--memory", "16"], "--memory needs --chip"),
        (["--chip", "M33", "--memory", "16"], "chip is 'M33', expected one of"),
        (["--chip", "M3", "--memory", "0"], "memory is 0 GB"),
        (["--context", "0"], "context is 0"),
        (["--chip", "M3", "--memory", "8", "--bits", "7"], "bits is 7"),
    ],
)
def test_bad_settings_are_refused(tiny: Path, words: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        _run("tiny", *words)


@pytest.mark.slow
def test_quantizing_what_is_quantized_is_refused(home: Path) -> None:
    _publish(home / "models" / "packed", bits=4)
    with pytest.raises(OptionError, match="already"):
        _run("packed", "--bits", "3")


def test_an_unknown_name_is_refused(tiny: Path) -> None:
    with pytest.raises(NotFoundError) as refused:
        _run("tinny")
    assert "tiny" in (refused.value.hint or "")


def test_a_hub_model_is_planned_without_its_weights(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = _publish(tmp_path / "published")
    hub.add_directory("org/tiny", published)
    chip = ("--chip", "M3", "--memory", "16")
    said = _json(capsys, "org/tiny", *chip)
    assert said["model"] == "org/tiny"
    assert said["plans"] == _json(capsys, str(published), *chip)["plans"]
    assert all(request.range for request in hub.requests if request.file == "model.safetensors")


def test_hub_weights_without_headers_are_refused(hub: FakeHub) -> None:
    hub.add(
        "org/old",
        {"config.json": json.dumps(CONFIG).encode(), "pytorch_model.bin": b"x", "tokenizer.json": b"{}"},
    )
    with pytest.raises(UnsupportedError, match="pytorch weights"):
        _run("org/old")
