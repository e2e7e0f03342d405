"""Several quantizations of one source: each measured alike, the smallest first, nothing left behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

from edgelm.cli.main import main
from edgelm.errors import OptionError
from edgelm.evaluate.quality import Subject, comparison_of, evaluate
from edgelm.evaluate.rows import Measuring
from edgelm_converters.compare import Comparing, Frontier, compare_methods, mark_frontier

pytestmark = pytest.mark.slow

MEASURING = Measuring(tokens=1024, length=128)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("frontier") / "tiny"
    write_checkpoint(directory, "qwen3", tie_word_embeddings=True, hidden_size=128)
    return directory


@pytest.fixture(scope="module")
def found(source: Path) -> tuple[Frontier, Path]:
    """rtn, fast and good at 3 and 4 bits, kept."""
    keep = source.parent / "kept"
    comparing = Comparing(
        ("rtn", "fast", "good"), (4, 3), calibration_tokens=4096, dtype="float32", measuring=MEASURING
    )
    return compare_methods(source, comparing, keep=keep), keep


def test_every_combination_is_measured_smallest_first(found: tuple[Frontier, Path]) -> None:
    frontier, _ = found
    widths = [one.width for one in frontier.candidates]
    assert widths == ["3"] * 3 + ["4"] * 3
    assert {one.method for one in frontier.candidates[:3]} == {"rtn", "fast", "good"}
    sizes = [one.size_bytes for one in frontier.candidates]
    assert sizes == sorted(sizes)
    assert frontier.source_bytes > sizes[-1]
    by_name = {(one.method, one.width): one for one in frontier.candidates}
    assert by_name["good", "4"].loss.mean_kl.value < by_name["rtn", "4"].loss.mean_kl.value
    assert by_name["rtn", "4"].loss.mean_kl.value < by_name["rtn", "3"].loss.mean_kl.value


def test_figures_are_those_of_the_models_that_were_kept(found: tuple[Frontier, Path], source: Path) -> None:
    frontier, keep = found
    for one in frontier.candidates:
        if one.method != "good":
            loaded = evaluate(
                Subject(keep / f"{one.method}-{one.width}"), reference=Subject(source), measuring=MEASURING
            )
            comparison = comparison_of(loaded)
            assert comparison is not None
            assert one.loss.mean_kl.value == pytest.approx(comparison.mean_kl.value, rel=2e-3)


def test_differences_are_to_the_first_method_at_the_same_width(found: tuple[Frontier, Path]) -> None:
    by_name = {(one.method, one.width): one for one in found[0].candidates}
    for bits in ("3", "4"):
        first, other = by_name["rtn", bits], by_name["good", bits]
        assert first.beside_first is None
        assert other.beside_first is not None
        assert other.beside_first.value == pytest.approx(
            other.loss.mean_kl.value - first.loss.mean_kl.value, abs=1e-6
        )


def test_the_frontier_is_what_nothing_beats(found: tuple[Frontier, Path]) -> None:
    one = found[0].candidates[0]

    def sized(size: int, kl: float) -> Any:
        estimate = replace(one.loss.mean_kl, value=kl)
        return replace(one, size_bytes=size, loss=replace(one.loss, mean_kl=estimate))

    marked = mark_frontier([sized(30, 0.2), sized(10, 0.5), sized(20, 0.6), sized(20, 0.3), sized(40, 0.2)])
    assert [(item.size_bytes, item.loss.mean_kl.value, item.on_frontier) for item in marked] == [
        (10, 0.5, True), (20, 0.3, True), (20, 0.6, False), (30, 0.2, True), (40, 0.2, False),
    ]  # fmt: skip


def test_a_width_that_the_first_method_has_not_is_set_beside_nothing(source: Path, home: Path) -> None:
    comparing = Comparing(
        ("rtn", "good"), (), (5.5,), calibration_tokens=2048, dtype="float32", measuring=MEASURING
    )
    frontier = compare_methods(source, comparing)
    assert {(one.method, one.width) for one in frontier.candidates} == {("good", "5.5 bpw")}
    assert all(one.beside_first is None for one in frontier.candidates)


def test_nothing_is_left_behind(source: Path, home: Path) -> None:
    comparing = Comparing(("rtn",), (4,), dtype="float32", measuring=MEASURING)
    before = sorted(source.parent.iterdir())
    frontier = compare_methods(source, comparing)
    assert len(frontier.candidates) == 1
    assert sorted(source.parent.iterdir()) == before
    assert not list((home / "caches").glob("*compare*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"methods": ("awq",), "bits": (4,)},
            "method is 'awq', expected one of rtn, fast, good, best, distilled",
        ),
        ({"methods": ("rtn",), "bits": (7,)}, "bits is 7"),
        ({"methods": (), "bits": (4,)}, "nothing to compare"),
        ({"methods": ("rtn",), "bits": (), "budgets": (4.0,)}, "nothing to compare"),
        ({"methods": ("best",), "bits": (), "budgets": (40.0,)}, "bpw is 40.0"),
    ],
)
def test_what_cannot_be_compared_is_refused_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Comparing(**settings)


def test_budgets_and_distillation_are_ways_too() -> None:
    comparing = Comparing(("rtn", "best", "distilled"), (4,), (3.5,), distill_steps=7)
    found = {(method, width): wanted for method, width, wanted in comparing.conversions()}
    assert found.keys() == {
        ("rtn", "4"), ("best", "4"), ("distilled", "4"), ("best", "3.5 bpw"), ("distilled", "3.5 bpw"),
    }  # fmt: skip
    assert found["distilled", "4"].distill == 7
    assert found["best", "4"].distill is None
    assert found["distilled", "3.5 bpw"].bpw == 3.5


def test_the_command_prints_and_plots(
    source: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"quantize compare {source} --bits 4 --methods rtn,fast --tokens 512 --length 128 --dtype float32"
    assert main([*words.split(), "--svg", str(tmp_path / "a.svg")]) == 0
    shown = capsys.readouterr().out
    for part in ("rtn", "fast", "mean KL", "KL − rtn's", "nothing else is both smaller and closer"):
        assert part in shown
    for part in ("rtn", "fast", "size (MB)", "mean KL to the source"):
        assert part in (tmp_path / "a.svg").read_text()
    assert main([*words.split(), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["method"] for one in said["candidates"]] in (["rtn", "fast"], ["fast", "rtn"])


def test_a_method_that_there_is_not_costs_no_conversion(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quantize", "compare", "nowhere", "--methods", "gptq"]) == 2
    assert "method is 'gptq'" in capsys.readouterr().err
