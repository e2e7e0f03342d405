"""Progress, JSON and messages, on a terminal and off it."""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgelm.cli.show.output import console, print_json, warn
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.progress import Progress


@dataclass(frozen=True)
class Size:
    """Something to report."""

    directory: Path
    ratio: float


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_json_holds_dataclasses_paths_and_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"size": Size(Path("a") / "b", math.nan), "names": ("é", frozenset({1})), "most": math.inf})
    out = capsys.readouterr().out
    assert json.loads(out) == {"size": {"directory": "a/b", "ratio": None}, "names": ["é", [1]], "most": None}
    assert "é" in out


def test_json_lines_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": "a\nb"}, indent=None)
    assert capsys.readouterr().out == '{"text": "a\\nb"}\n'


def test_progress_off_a_terminal_is_two_lines_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as on_progress:
        for done in range(0, 1001, 10):
            on_progress(Progress("Converting", done * 10**6, 10**9, "bytes", "model.norm"))
        on_progress(Progress("Looking", 3, None, "files"))
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "Converting (1 GB)"
    assert lines[1].startswith("Converting: done in ")
    assert lines[2:] == ["Looking"]


def test_progress_on_a_terminal_is_one_bar_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    with progress_bars() as on_progress:
        on_progress(Progress("Converting", 5 * 10**6, 10**7, "bytes", "[layers.1]"))
        on_progress(Progress("Verifying", 3, 30, "tokens"))
    shown = screen.getvalue()
    assert "5 MB/10 MB" in shown
    assert "3/30 tokens" in shown
    assert "[layers.1]" in shown


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "dumb")
    with progress_bars() as on_progress:
        on_progress(Progress("Converting", 1, 2, "tensors"))
    assert screen.getvalue() == "Converting (2 tensors)\n"


def test_a_warning_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    warn("[odd] thing")
    assert capsys.readouterr() == ("", "warning: [odd] thing\n")


def test_a_table_in_a_pipe_is_not_cut_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    console().print("x" * 150)
    assert "x" * 150 in capsys.readouterr().out
