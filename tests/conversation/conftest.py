"""Saved chats of a home of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelm.store.chats import Chats


@pytest.fixture
def chats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chats]:
    monkeypatch.setenv("EDGELM_HOME", str(tmp_path / "home"))
    with Chats() as opened:
        yield opened
