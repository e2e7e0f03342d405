"""Benchmarks of a tiny model: what is measured is what is said to be measured."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import pytest
from checkpoints import write_checkpoint

from edgelm import device
from edgelm.errors import OptionError
from edgelm.evaluate.bench import answers, depths, rig
from edgelm.evaluate.bench.options import CASES, BenchOptions
from edgelm.evaluate.bench.report import BenchReport, Case, Spread
from edgelm.evaluate.bench.rig import Rig
from edgelm.evaluate.bench.run import run_bench
from edgelm.pricing import machine_rates as probe
from edgelm.progress import Progress
from edgelm.runtime.assemble import Ready, RuntimeOptions, assemble
from edgelm.runtime.requests import Request

SMALL = {"prompt_tokens": 24, "new_tokens": 4, "history_tokens": 100, "repeats": 2}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    directory = tmp_path_factory.mktemp("bench") / "tiny"
    write_checkpoint(directory, "llama", max_position_embeddings=4096)
    return assemble(directory, RuntimeOptions())


@pytest.fixture(scope="module")
def sliding(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    directory = tmp_path_factory.mktemp("bench") / "windows"
    write_checkpoint(directory, "gemma3_text", sliding_window=16, max_position_embeddings=256)
    return assemble(directory, RuntimeOptions())


@pytest.fixture
def asked(llama: Ready, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Request]]:
    """The requests that the engine gets."""
    requests: list[Request] = []
    generate = llama.engine.generate

    def recording(request: Request, cancel: Any) -> Any:
        requests.append(request)
        return generate(request, cancel)

    monkeypatch.setattr(llama.engine, "generate", recording)
    return requests


def bench(ready: Ready, **options: Any) -> BenchReport:
    return run_bench(ready, device.detect(), BenchOptions(**{**SMALL, **options}))


@pytest.mark.peer
def test_every_case_is_measured_on_every_side(llama: Ready) -> None:
    report = bench(llama, depths=(0, 48), compare="mlx-lm")
    assert [case.name.partition(",")[0] for case in report.cases] == [
        "decode 4 at depth 0",
        "prefill 24 at depth 0",
        "decode 4 at depth 48",
        "prefill 24 at depth 48",
        "first token of next turn",
        "first token of reopened chat",
        "decode 128",
        "decode 128",
        "decode 4",
        "decode 4",
        "decode 4",
        "16 prompts at once",
        "16 prompts at once",
    ]
    for case in report.cases:
        has_peer = case.name != "16 prompts at once, drawn"
        for spread in (case.edgelm, case.peer) if has_peer else (case.edgelm,):
            assert spread is not None
            assert 0 < spread.lowest <= spread.median <= spread.highest
    assert [case.without is not None for case in report.cases] == [False] * 4 + [True] * 9
    assert not any(case.note for case in report.cases)
    assert report.peak_memory_bytes > 0
    assert report.skipped == ()


@pytest.mark.slow
def test_kinds_of_answers_are_what_they_are_called(llama: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []
    generate = llama.engine.generate
    monkeypatch.setattr(
        llama.engine, "generate", lambda request, cancel: asked.append(request) or generate(request, cancel)
    )
    cases = list(answers.measure(Rig(llama, BenchOptions(**{**SMALL, "repeats": 1}))))
    assert [case.name for case in cases] == [
        "decode 4, with log-probabilities",
        "decode 4, held to a schema",
        "decode 4, drawn at temperature 0.8",
        "16 prompts at once, drawn",
    ]
    assert {request.logprobs for request in asked[:3]} == {5, None}
    assert any(request.constraint is not None for request in asked[3:6])
    assert any(not request.sampling.is_greedy for request in asked[6:9])
    assert not any(request.speculation for request in asked)
    assert all(case.without is not None for case in cases)


@pytest.mark.slow
def test_a_draft_model_is_measured_where_there_is_one(llama: Ready) -> None:
    ready = assemble(llama.loaded.directory, RuntimeOptions(draft=llama.loaded.directory))
    report = bench(ready, cases=("answers",), draft="tiny", repeats=1)
    assert "decode 4, guessed by the draft model" in [case.name for case in report.cases]


@pytest.mark.slow
def test_windows_are_measured_too(sliding: Ready) -> None:
    report = bench(sliding, depths=(0, 48), cases=("depths", "turn", "batch"))
    assert len(report.cases) == 4 + 2 + 1


@pytest.mark.slow
def test_the_report_says_what_was_measured_where(llama: Ready) -> None:
    seen: list[Progress] = []
    options = BenchOptions(**SMALL, depths=(0,), cases=("depths", "batch"))
    report = run_bench(llama, device.detect(), options, on_progress=seen.append)
    assert [(item.done, item.total, item.detail) for item in seen] == [
        (0, 2, "depth 0"), (1, 2, "many prompts"), (2, 2, ""),
    ]  # fmt: skip
    said = report.as_json()
    assert said["format"] == 1
    assert said["model"]["name"] == "tiny"
    assert len(said["model"]["fingerprint"]) == 32
    assert said["machine"]["backend"] == "cpu"
    assert "TF32" in said["condition"]
    assert said["versions"].keys() == {"edgelm", "mlx", "mlx-lm", "python"}
    assert said["cases"][2]["gain_over_without"] > 0
    assert said["cases"][0]["gain_over_peer"] is None


def test_depths_ask_the_engine_for_what_is_reported(llama: Ready, asked: list[Request]) -> None:
    llama.engine.reset()
    list(depths.measure(Rig(llama, BenchOptions(**SMALL)), 40))
    assert [(len(request.prompt), request.max_tokens) for request in asked] == (
        [(40, 1), (41, 4)] * 2 + [(40, 1), (64, 1)] * 2
    )
    assert not any(request.speculation for request in asked)


def test_a_turn_is_from_the_cache(llama: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    cached: list[int] = []
    generate = Rig.generate

    def recording(self: Rig, prompt: list[int], *rest: Any, **more: Any) -> Any:
        finished = generate(self, prompt, *rest, **more)
        if len(prompt) == 100 + 32:
            cached.append(finished.usage.cached_tokens)
        return finished

    monkeypatch.setattr(rig.Rig, "generate", recording)
    bench(llama, cases=("turn",), repeats=1)
    memory, disk, again = cached
    assert memory in (99, 100)
    assert disk in (99, 100)
    assert again == 0


@pytest.mark.slow
def test_what_the_context_cannot_hold(sliding: Ready) -> None:
    with pytest.raises(OptionError, match="context of 256 tokens"):
        bench(sliding, depths=(0, 300), cases=("depths",))
    report = bench(sliding, cases=("speculation", "turn"), history_tokens=10_000)
    assert report.skipped[0].startswith("speculation: needs")
    assert "222 + 32 tokens" in report.cases[0].name


def test_gains() -> None:
    fast, slow = Spread(4.0, 4.0, 4.0), Spread(2.0, 2.0, 2.0)
    assert Case("x", "token/s", fast).gain_over(slow) == 2
    assert Case("x", "s", slow).gain_over(fast) == 2
    assert Case("x", "s", slow).gain_over(None) is None


def test_the_spread_is_of_the_repeats() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_default_depths_stop_at_the_context() -> None:
    options = BenchOptions()
    assert options.depths_within(None) == (0, 512, 2048)
    assert options.depths_within(8192) == (0, 512, 2048)
    assert options.depths_within(2048) == (0, 512)
    assert options.cases == CASES


@pytest.mark.parametrize(
    "settings",
    [
        {"depths": ()},
        {"depths": (-1,)},
        {"prompt_tokens": 0},
        {"new_tokens": 1},
        {"repeats": 0},
        {"cases": ()},
        {"cases": ("deeps",)},
        {"compare": "ollama"},
        {"history_tokens": 0},
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        BenchOptions(**settings)


class Recording:
    """A network that computes nothing and knows the lengths of what it is fed."""

    class Layer:
        state = ()

    def __init__(self) -> None:
        self.fed: list[int] = []

    def make_cache(self) -> list[Layer]:
        return [self.Layer()]

    def __call__(self, ids: mx.array, cache: Any) -> mx.array:
        self.fed.append(ids.shape[1])
        return mx.zeros((*ids.shape, 4))


def test_the_peer_computes_a_prompt_in_its_own_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlx_lm.generate import generate_step

    from edgelm.zoo import peer

    chunk = inspect.signature(generate_step).parameters["prefill_step_size"].default
    network = Recording()
    layers = peer.filled_cache(network, [1] * (2 * chunk + 5))
    assert network.fed == [chunk, chunk, 5]
    network.fed.clear()
    peer.first_token_s(network, layers, [1] * (chunk + 6))
    assert network.fed[:2] == [chunk, 5]
    asked: list[dict[str, Any]] = []

    def batch_generate(*_: Any, **settings: Any) -> Any:
        asked.append(settings)
        return argparse.Namespace(token_ids=[[1, 2]])

    monkeypatch.setattr(peer, "batch_generate", batch_generate)
    peer.batch(network, None, [[1]], 2)()
    assert asked[0].keys() == {"max_tokens", "return_token_ids", "stream"}


@pytest.mark.parametrize(
    ("device_type", "sides", "matrices"), [(mx.cpu, (1024, 128, 1024), 64), (mx.gpu, (4096, 4096, 4096), 4)]
)
def test_probes_are_large_enough_for_a_gpu(
    device_type: mx.DeviceType, sides: tuple[int, int, int], matrices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, mx.Dtype]] = []

    def ones(side: int, dtype: mx.Dtype = mx.float32) -> mx.array:
        made.append((side, dtype))
        return mx.ones((2, 2), dtype=dtype)

    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(device_type))
    monkeypatch.setattr(probe, "_ones", ones)
    monkeypatch.setattr(probe, "_fastest_s", lambda _: 0.5)
    single, half, read = sides
    assert probe.measure_matmul_flops_per_s() == 4 * single**3
    assert probe.measure_half_flops_per_s(mx.float16) == 4 * half**3
    assert made == [(single, mx.float32)] * 2 + [(half, mx.float16)] * 2
    made.clear()
    probe.measure_read_bytes_per_s()
    assert made == [(read, mx.float32)] * matrices


@pytest.mark.slow
def test_probes_measure_something_plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_READ_BYTES", 1 << 24)
    assert 1e8 < probe.measure_matmul_flops_per_s() < 1e17
    assert 1e7 < probe.measure_read_bytes_per_s() < 1e14
