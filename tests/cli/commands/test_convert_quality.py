"""`edgelm convert --quality …` as a user sees it: the estimate, the receipt, the refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import write_checkpoint

from edgelm.cli.main import main


@pytest.fixture
def source(tmp_path: Path, home: Path) -> Path:
    write_checkpoint(tmp_path / "source")
    return tmp_path / "source"


def flags(source: Path, *more: str) -> list[str]:
    common = ("--calibration-tokens", "1024", "--loss-tokens", "0", "--no-verify")
    return ["convert", str(source), "-o", str(source.parent / "out"), *common, *more]


@pytest.mark.slow
def test_the_estimate_comes_first_and_the_receipt_says_what_was_done(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(source, "--bits", "4", "--group-size", "32", "--quality", "good")) == 0
    said = capsys.readouterr()
    assert "calibrating takes about" in said.err
    assert said.err.index("calibrating takes about") < said.err.index("Calibrating")
    assert "good, 1,024 tokens of shipped text; not reached by it: model.embed_tokens" in said.out


@pytest.mark.slow
def test_rounding_where_calibrating_fails_is_said_with_the_reason(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgelm.device.memory_budget_bytes", lambda _: 50_000_000)
    assert main(flags(source, "--bits", "4", "--group-size", "32")) == 0
    said = capsys.readouterr()
    assert "rtn: calibrating takes" in said.out
    assert "quality" in said.out


@pytest.mark.slow
def test_a_budget_on_the_command_line(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags(source, "--bpw", "4.5", "--quality", "good", "--json")) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["recipe"]["bpw"] == 4.5
    assert 4.3 < manifest["bits_per_weight"] <= 4.5
    assert {module["method"] for module in manifest["receipt"]["calibration"]["modules"]} == {
        "weighted search", "search",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (("--quality", "better"), 2, "expected one of rtn, fast, good, best"),
        (("--quality", "best", "--calibration", "missing.txt"), 1, "does not exist"),
        (("--size", "much"), 2, "expected a number and a unit"),
        (("--size", "1kB"), 2, "the smallest possible is"),
        (("--fit", "a laptop"), 2, "expected a chip and its memory"),
        (("--bpw", "4", "--bits", "4"), 2, "cannot be given with it"),
    ],
)
def test_what_is_refused_leaves_nothing(
    source: Path, more: tuple[str, ...], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(source, *more)) == code
    assert says in capsys.readouterr().err
    assert not (source.parent / "out").exists()
