"""Saved chats in a database of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelm.store.chats import Chats


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "edgelm.db"


@pytest.fixture
def chats(file: Path) -> Iterator[Chats]:
    with Chats(file) as opened:
        yield opened
