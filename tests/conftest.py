"""Fixtures for every part: a home of one's own, and a Hub that is not the real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty EDGELM_HOME."""
    directory = tmp_path / "home"
    monkeypatch.setenv("EDGELM_HOME", str(directory))
    return directory


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """An empty Hugging Face cache, which `fake_hub` downloads to."""
    return tmp_path / "huggingface" / "hub"


@pytest.fixture
def fake_hub(home: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A local Hub, which this process takes for the real one."""
    with FakeHub() as hub:
        hub.point_at(monkeypatch, hub_cache)
        yield hub
