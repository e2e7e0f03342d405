"""No test of the app touches the user's own home."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGELM_HOME", str(home))
    monkeypatch.delenv("NO_COLOR", raising=False)
    # Clipboards of this machine are left alone.
    monkeypatch.setattr("edgelm_tui.base_app.copy_text", lambda _: False)
