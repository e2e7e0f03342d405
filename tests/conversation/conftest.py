"""Saved chats of a home of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelm.store.chats import Chats


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    """Nothing is written to the home of who runs the tests."""


@pytest.fixture
def chats() -> Iterator[Chats]:
    with Chats() as opened:
        yield opened
