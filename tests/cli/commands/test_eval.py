"""`edgelm eval`: flags in, a table, JSON or a chart out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from adapter_files import write_adapter_named

from edgelm.adapters.find import find_adapter
from edgelm.adapters.use import AdapterUse
from edgelm.cli.main import main
from edgelm.evaluate.compare import Comparison, Quality
from edgelm.evaluate.harness import TaskScore
from edgelm.evaluate.quality import Evaluated, Subject
from edgelm.evaluate.rows import Measuring
from edgelm.evaluate.scores import Estimate

PERPLEXITY = {"prose": Estimate(17.0, 0.5), "code": Estimate(8.0, 0.4)}
QUALITY = Quality(tokens=8160, rows=32, perplexity=Estimate(12.1, 0.31), perplexity_by_domain=PERPLEXITY)
COMPARISON = Comparison(
    **vars(QUALITY),
    reference_perplexity=Estimate(11.9, 0.3),
    mean_kl=Estimate(0.0543, 0.0021),
    p99_kl=Estimate(0.61, 0.04),
    top1_agreement=Estimate(0.875, 0.006),
    kl_by_domain={"prose": Estimate(0.05, 0.002), "code": Estimate(0.06, 0.003)},
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `evaluate` was asked."""
    calls: list[dict[str, Any]] = []

    def evaluate(model: Subject, *, reference: Subject | None = None, **given: Any) -> Evaluated:
        calls.append({"model": model, "reference": reference, **given})
        return Evaluated(
            model="tiny [4bit]", reference="tiny" if reference else None, text="shipped held-out text", length=256,
            size_bytes=93_000_000, quality=COMPARISON if reference else QUALITY, peak_memory_bytes=1,
        )  # fmt: skip

    monkeypatch.setattr("edgelm.evaluate.quality.evaluate", evaluate)
    monkeypatch.setattr("edgelm.library.models.resolve", Path)
    monkeypatch.setattr("edgelm.adapters.find.find_adapter", Path)
    monkeypatch.setattr("edgelm.adapters.find.read_adapter", lambda directory: directory)
    monkeypatch.setattr("edgelm.adapters.find.check_base", lambda *_: None)
    return calls


def test_flags_become_what_is_measured(asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[tuple[Any, Path]] = []
    monkeypatch.setattr("edgelm.adapters.find.check_base", lambda *pair: checked.append(pair))
    words = "eval a --reference b --adapter c --reference-adapter d=0.5 --text t.txt --tokens 0 --length 64 --no-fit-check"
    assert main(words.split()) == 0
    assert asked[0]["model"] == Subject(Path("a"), (AdapterUse(Path("c")),), check_fit=False)
    assert asked[0]["reference"] == Subject(Path("b"), (AdapterUse(Path("d"), 0.5),), check_fit=False)
    assert checked == [(Path("c"), Path("a")), (Path("d"), Path("b"))]
    assert asked[0]["text"] == Path("t.txt")
    assert asked[0]["measuring"] == Measuring(tokens=0, length=64)


@pytest.mark.parametrize("flag", ["--adapter", "--reference-adapter"])
def test_an_adapter_that_is_not_there_is_refused_before_anything_runs(
    flag: str,
    home: Path,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("edgelm.adapters.find.find_adapter", find_adapter)
    directory = write_adapter_named("mine")
    assert main(["eval", "a", "--reference", "b", flag, "mime"]) == 1
    said = capsys.readouterr().err
    assert "no adapter 'mime'" in said
    assert "did you mean mine?" in said
    assert not asked
    assert main(["eval", "a", "--reference", "b", flag, "mine"]) == 0
    subject = asked[0]["model" if flag == "--adapter" else "reference"]
    assert subject.adapter == (AdapterUse(directory),)


def test_the_table_shows_figures_with_their_errors(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "a", "--reference", "b"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "tiny [4bit], 93 MB in memory",
        "8,160 tokens in 32 rows of 256",
        "12.10 ± 0.31",
        "0.0543 ± 0.0021 nats",
        "KL below 0.610 ± 0.040",
        "87.5% ± 0.6%",
        "prose 0.05, code 0.06",
    ):
        assert part in shown


def test_without_a_reference_there_is_only_perplexity(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "a"]) == 0
    shown = capsys.readouterr().out
    assert "12.10 ± 0.31" in shown
    assert "KL" not in shown


def test_json_is_everything(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "a", "--reference", "b", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["quality"]["mean_kl"] == {"value": 0.0543, "standard_error": 0.0021}
    assert said["reference"] == "tiny"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "label"), [([], "perplexity"), (["--reference", "b"], "mean KL to tiny (nats)")]
)
def test_the_chart_shows_domains(asked: list[Any], tmp_path: Path, words: list[str], label: str) -> None:
    path = tmp_path / "a.svg"
    assert main(["eval", "a", "--svg", str(path), *words]) == 0
    for text in ("prose", "code", label):
        assert text in path.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--svg", "a.pdf"], "expected a name that ends in .svg or .png"),
        (["--reference-adapter", "c"], "--reference-adapter was given without --reference"),
        (["--limit", "3"], "--limit was given without --tasks"),
        (["--task-directory", "d"], "--task-directory was given without --tasks"),
        (["--tasks", "x", "--reference", "b"], "--reference does not go with --tasks"),
        (["--tokens", "-1"], "tokens is -1"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    asked: list[Any], words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "a", *words]) == 2
    assert message in capsys.readouterr().err
    assert not asked


def test_tasks_are_shown_with_their_errors(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []

    def run_tasks(model: Subject, names: list[str], **given: Any) -> list[TaskScore]:
        calls.append((model, names, given))
        return [TaskScore("arc_easy", "acc", Estimate(0.42, 0.05), 100)]

    monkeypatch.setattr("edgelm.evaluate.harness.run_tasks", run_tasks)
    assert (
        main(
            ["eval", "a", "--adapter", "c", "--tasks", "arc_easy,hellaswag", "--limit", "100", "--shots", "2"]
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert "arc_easy" in shown
    assert "0.420 ± 0.050" in shown
    model, names, given = calls[0]
    assert model == Subject(Path("a"), (AdapterUse(Path("c")),))
    assert names == ["arc_easy", "hellaswag"]
    assert (given["limit"], given["shots"]) == (100, 2)
