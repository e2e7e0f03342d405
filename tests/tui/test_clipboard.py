"""What is copied on a Mac is UTF-8, whatever locale the terminal has."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelm_tui.clipboard import copy_text

PBCOPY = """#!/bin/sh
printf '%s|%s|' "$LC_CTYPE" "$LC_ALL" > "{out}"
cat >> "{out}"
"""


@pytest.mark.parametrize("locale", ["", "C", "de_DE.ISO8859-1"])
def test_pbcopy_is_told_the_encoding(locale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, out = tmp_path / "pbcopy", tmp_path / "out"
    program.write_text(PBCOPY.format(out=out))
    program.chmod(0o755)
    monkeypatch.setattr("edgelm_tui.clipboard.shutil.which", lambda _: str(program))
    monkeypatch.delenv("SSH_TTY", raising=False)
    monkeypatch.delenv("LC_CTYPE", raising=False)
    monkeypatch.setenv("LC_ALL", locale)
    assert copy_text("Straße — 日本語 🎉")
    assert out.read_text(encoding="utf-8") == "UTF-8||Straße — 日本語 🎉"
