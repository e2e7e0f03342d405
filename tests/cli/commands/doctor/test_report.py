"""A report that may be attached to an issue: two files, and nobody's name in either."""

from __future__ import annotations

import argparse
import getpass
import json
import platform
from pathlib import Path
from typing import Any

import pytest

from edgelm.cli.commands import doctor
from edgelm.cli.commands.doctor.report import write_report
from edgelm.errors import OutputError, UnsupportedError
from edgelm.machine import anonymous as module
from edgelm.machine.anonymous import anonymous


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Path, "home", lambda: Path("/Users/jane.doe"))
    monkeypatch.setattr(module.platform, "node", lambda: "Janes-MacBook-Pro.local")
    monkeypatch.setenv("USER", "jane.doe")


@pytest.mark.usefixtures("somebody")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/Users/jane.doe/Library/Caches/edgelm", "~/Library/Caches/edgelm"),
        ("/Users/jane.doe2/models", "/Users/…/models"),
        ("/home/somebody-else/.cache", "/home/…/.cache"),
        ("on Janes-MacBook-Pro.local and Janes-MacBook-Pro", "on … and …"),
        ("InternalBattery-0 (id=20054115)", "InternalBattery-0 (id=…)"),
        ('"IOPlatformSerialNumber" = "C02XXXXXXX"', '"IOPlatformSerialNumber" = "…"'),
        ("owner jane.doe", "owner …"),
        ("macOS 26.1 (25B78)", "macOS 26.1 (25B78)"),
    ],
)
def test_names_are_left_out(text: str, expected: str) -> None:
    assert anonymous({"a": [text]}) == {"a": [expected]}


def test_both_files_are_written_without_this_machines_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = Path.home() / "private" / "models"
    checks = [doctor.Check("EDGELM_HOME", "ok", str(secret), raw=f"{platform.node()}\n|{getpass.getuser()}|")]
    write_report(tmp_path / "report.json", {"checks": checks})
    data, text = (tmp_path / "report.json").read_text(), (tmp_path / "report.md").read_text()
    assert json.loads(data)["checks"][0]["value"] == "~/private/models"
    for written in (data, text):
        assert str(Path.home()) + "/" not in written
        assert len(platform.node()) < 3 or platform.node() not in written
    assert text.startswith("# edgelm doctor\n")
    assert "| ok | EDGELM_HOME | ~/private/models |" in text


def test_a_file_that_is_there_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one beside the one that was named too."""
    (tmp_path / "notes.md").write_text("my notes")
    monkeypatch.setattr(doctor, "run_checks", lambda: pytest.fail("measured"))
    with pytest.raises(OutputError, match=r"notes\.md already exists"):
        doctor.run(asked(tmp_path / "notes.json"))
    assert (tmp_path / "notes.md").read_text() == "my notes"
    assert not (tmp_path / "notes.json").exists()


def asked(output: Path | None, **changes: Any) -> argparse.Namespace:
    given = {"json": False, "metal": False, "model": None, "seconds": 1.0, "force": False}
    return argparse.Namespace(**{**given, **changes}, output=output)


def test_the_command_writes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "run_checks", lambda: iter([doctor.Check("a", "warn", "b", "c")]))
    doctor.run(asked(tmp_path / "r.json"))
    assert "| warn | a | b → c |" in (tmp_path / "r.md").read_text()


def test_without_an_apple_gpu_it_says_so_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelm.cli.commands.doctor.metal.require_metal", _refuse)
    monkeypatch.setattr(doctor, "run_checks", lambda: pytest.fail("measured"))
    with pytest.raises(UnsupportedError):
        doctor.run(asked(None, metal=True))


def _refuse() -> None:
    raise UnsupportedError("no")
