"""`edgelm bench`: flags in, a table or JSON out."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from edgelm.cli import bench
from edgelm.errors import OptionError
from edgelm.evaluate.bench import BenchOptions, BenchReport, DepthSpeed, Spread

REPORT = BenchReport(
    model="tiny",
    model_bytes=1_000_000,
    dtype="float32",
    backend="cpu",
    chip="a CPU [fast]",
    prompt_tokens=16,
    new_tokens=4,
    repeats=3,
    speeds=(DepthSpeed(0, Spread(1234.5, 1200.0, 1300.0), Spread(21.0, 20.0, 22.0)),),
    peak_memory_bytes=2_000_000,
    versions={"edgelm": "0.1.0", "mlx": "0.32.4", "mlx-lm": "0.32.2"},
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, BenchOptions]]:
    """What the benchmark was asked; it answers with `REPORT`."""
    calls: list[tuple[Any, BenchOptions]] = []

    def run_bench(model: Any, _: Any, options: BenchOptions, **__: Any) -> BenchReport:
        calls.append((model, options))
        return REPORT

    monkeypatch.setattr("edgelm.model.library.resolve", lambda name: name)
    monkeypatch.setattr("edgelm.model.load.load", lambda path, **given: (path, given))
    monkeypatch.setattr("edgelm.evaluate.bench.run_bench", run_bench)
    return calls


def _run(*words: str) -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    bench.run(parser.parse_args(words))


def test_flags_become_options(asked: list[tuple[Any, BenchOptions]]) -> None:
    _run("tiny", "--depth", "0,128", "--new-tokens", "8", "--no-fit-check")
    model, options = asked[0]
    assert model == ("tiny", {"adapter": None, "check_fit": False})
    assert options == BenchOptions(depths=(0, 128), new_tokens=8)


def test_json_is_the_report(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    _run("tiny", "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["speeds"][0]["prefill_tokens_per_s"]["median"] == 1234.5
    assert said["versions"]["mlx"] == "0.32.4"


def test_the_table_names_backend_chip_and_versions(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _run("tiny")
    shown = capsys.readouterr().out
    for part in ("a CPU [fast], cpu backend", "mlx 0.32.4", "1,234.5 (1,200.0 to 1,300.0)", "median of 3"):
        assert part in shown


@pytest.mark.parametrize("words", [["--depth", "0,x"], ["--repeats", "many"]])
def test_words_for_numbers_are_a_usage_error(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        _run("tiny", *words)
    assert stop.value.code == 2


def test_bad_numbers_are_refused_before_loading(asked: list[Any]) -> None:
    with pytest.raises(OptionError, match="repeats is 0"):
        _run("tiny", "--repeats", "0")
    assert not asked
