"""`edgelm bench`: flags in, a table or JSON out, and a file to attach."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from adapter_files import write_adapter_named

from edgelm.adapters.use import AdapterUse
from edgelm.cli.commands import bench
from edgelm.errors import NotFoundError, OptionError
from edgelm.evaluate.bench.options import BenchOptions
from edgelm.evaluate.bench.report import BenchedModel, BenchReport, Case, Machine, Spread

REPORT = BenchReport(
    machine=Machine("a CPU [fast]", "cpu", 8 << 30, 2, "Linux 6 x86_64", True),
    model=BenchedModel("tiny", "0" * 32, 1_000_000, "float32", {"bits": 4, "group_size": 64}),
    cases=(
        Case(
            "prefill 16 at depth 0", "token/s", Spread(1234.5, 1200.0, 1300.0), peer=Spread(617.25, 1.0, 2.0)
        ),
        Case("next turn", "s", Spread(0.25, 0.2, 0.3), Spread(2.5, 2.4, 2.6), "computed again", note="[x]"),
    ),
    repeats=3,
    peer="mlx-lm",
    peak_memory_bytes=2_000_000,
    skipped=("batch: for a reason",),
    versions={"edgelm": "0.1.0", "mlx": "0.32.4", "mlx-lm": "0.32.2"},
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, BenchOptions]]:
    """What the benchmark was asked; it answers with `REPORT`."""
    calls: list[tuple[Any, BenchOptions]] = []

    def run_bench(
        ready: Any, _: Any, options: BenchOptions, *, adapter: Path | None, **__: Any
    ) -> BenchReport:
        assert adapter == next((use.directory for use in ready[1].adapters), None)
        calls.append((ready, options))
        return REPORT

    monkeypatch.setattr("edgelm.library.models.resolve", lambda name: name)
    monkeypatch.setattr("edgelm.runtime.assemble.assemble", lambda path, options: (path, options))
    monkeypatch.setattr("edgelm.evaluate.bench.run.run_bench", run_bench)
    return calls


def _run(*words: str) -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    bench.run(parser.parse_args(words))


def test_flags_become_options(asked: list[tuple[Any, BenchOptions]]) -> None:
    _run("tiny", "--depth", "0,128", "--new-tokens", "8", "--no-fit-check", "--cases", "depths,turn")
    (name, runtime), options = asked[0]
    assert (name, runtime.adapters, runtime.check_fit) == ("tiny", (), False)
    assert options == BenchOptions(depths=(0, 128), new_tokens=8, cases=("depths", "turn"))
    _run("tiny", "--compare", "mlx-lm")
    assert asked[1][1] == BenchOptions(compare="mlx-lm")


def test_an_adapter_is_named_with_its_weight(home: Path, asked: list[tuple[Any, BenchOptions]]) -> None:
    directory = write_adapter_named("mine")
    _run("tiny", "--adapter", "mine=0.5")
    (_, runtime), _ = asked[0]
    assert runtime.adapters == (AdapterUse(directory, 0.5),)


def test_an_adapter_that_is_not_there_is_refused_before_loading(
    home: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgelm.runtime.assemble.assemble", lambda *_: pytest.fail("loaded"))
    write_adapter_named("mine")
    with pytest.raises(NotFoundError, match="no adapter 'mime'") as caught:
        _run("tiny", "--adapter", "mime")
    assert caught.value.hint == "did you mean mine?"
    assert not asked


def test_json_is_the_report(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    _run("tiny", "--json")
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads(json.dumps(REPORT.as_json()))
    assert said["cases"][0]["edgelm"]["median"] == 1234.5
    assert said["cases"][0]["gain_over_peer"] == 2
    assert said["cases"][1]["gain_over_without"] == 10


def test_the_table_names_backend_chip_and_versions(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _run("tiny")
    shown = capsys.readouterr().out
    for part in (
        "tiny, 4-bit weights: 1 MB in memory, float32",
        "a CPU [fast], cpu backend",
        "mlx 0.32.4",
        "1,234.5 (1,200.0 to 1,300.0) token/s",
        "617.2 ×2.00",
        "next turn ([x])",
        "computed again 2.5 s ×10.00",
        "median of 3",
        "not measured: batch: for a reason",
    ):
        assert part in shown


def test_the_result_is_written_beside(
    asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run("tiny", "--output", str(tmp_path / "new" / "bench.json"))
    assert json.loads((tmp_path / "new" / "bench.json").read_text())["model"]["fingerprint"] == "0" * 32
    assert "prefill 16" in capsys.readouterr().out
    text = (tmp_path / "new" / "bench.md").read_text()
    assert text.startswith("# edgelm bench\n")
    assert "| prefill 16 at depth 0 | 1,234.5 (1,200.0 to 1,300.0) token/s |" in text
    assert "TF32" in text


@pytest.mark.parametrize("words", [["--depth", "0,x"], ["--repeats", "many"], ["--compare", "ollama"]])
def test_words_for_numbers_are_a_usage_error(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        _run("tiny", *words)
    assert stop.value.code == 2


def test_bad_settings_are_refused_before_loading(asked: list[Any]) -> None:
    with pytest.raises(OptionError, match="repeats is 0"):
        _run("tiny", "--repeats", "0")
    with pytest.raises(OptionError, match="case is deeps"):
        _run("tiny", "--cases", "deeps")
    assert not asked
