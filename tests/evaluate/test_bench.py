"""Benchmarks of a tiny model: what is measured is what is said to be measured."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from edgelm import device
from edgelm.errors import OptionError
from edgelm.evaluate import bench, probe
from edgelm.evaluate.bench import BenchOptions, Spread, run_bench
from edgelm.model.network import build_network
from edgelm.progress import Progress

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-5,
    "vocab_size": 64,
    "tie_word_embeddings": True,
}
GEMMA3 = {
    **LLAMA,
    "model_type": "gemma3_text",
    "sliding_window": 16,
    "sliding_window_pattern": 2,
    "head_dim": 16,
}


def _model(config: dict[str, Any], context_length: int | None = 256) -> Any:
    network = build_network(config, Path("test"))
    mx.eval(network.parameters())
    return types.SimpleNamespace(
        network=network,
        vocab_size=64,
        context_length=context_length,
        name="tiny",
        size_bytes=1,
        dtype="float32",
    )


@pytest.mark.parametrize("config", [LLAMA, GEMMA3], ids=lambda config: config["model_type"])
def test_each_depth_is_measured(config: dict[str, Any]) -> None:
    options = BenchOptions(depths=(0, 48), prompt_tokens=24, new_tokens=4, repeats=3)
    seen: list[Progress] = []
    report = run_bench(_model(config), device.detect(), options, on_progress=seen.append)
    assert [speed.depth for speed in report.speeds] == [0, 48]
    for speed in report.speeds:
        for spread in (speed.prefill_tokens_per_s, speed.decode_tokens_per_s):
            assert 0 < spread.lowest <= spread.median <= spread.highest
    assert report.peak_memory_bytes > 0
    assert report.versions.keys() == {"edgelm", "mlx", "mlx-lm"}
    assert [(item.done, item.total) for item in seen] == [(0, 2), (1, 2), (2, 2)]


def test_the_engine_is_asked_for_what_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int | None]] = []

    class Recording(bench.Engine):
        def generate(self, request: Any, cancel: Any) -> Any:
            asked.append((len(request.prompt), request.max_tokens))
            return super().generate(request, cancel)

    monkeypatch.setattr(bench, "Engine", Recording)
    options = BenchOptions(depths=(40,), prompt_tokens=24, new_tokens=4, repeats=2)
    run_bench(_model(LLAMA), device.detect(), options)
    warm_up, *measured = asked
    assert warm_up == (8, 2)
    assert measured == [(40, 1), (41, 4)] * 2 + [(40, 1), (64, 1)] * 2


def test_the_spread_is_of_the_repeats() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_default_depths_stop_at_the_context() -> None:
    options = BenchOptions()
    assert options.depths_within(None) == (0, 512, 2048)
    assert options.depths_within(8192) == (0, 512, 2048)
    assert options.depths_within(2048) == (0, 512)


@pytest.mark.parametrize("depths", [(0, 300), None])
def test_what_the_context_cannot_hold_is_refused(depths: tuple[int, ...] | None) -> None:
    with pytest.raises(OptionError, match="context of 256 tokens"):
        run_bench(_model(LLAMA), device.detect(), BenchOptions(depths=depths, prompt_tokens=512))


@pytest.mark.parametrize(
    "settings", [{"depths": ()}, {"depths": (-1,)}, {"prompt_tokens": 0}, {"new_tokens": 1}, {"repeats": 0}]
)
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        BenchOptions(**settings)


def test_probes_measure_something_plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_READ_BYTES", 1 << 24)
    assert 1e8 < probe.measure_matmul_flops_per_s() < 1e17
    assert 1e7 < probe.measure_read_bytes_per_s() < 1e14
