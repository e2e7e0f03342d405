"""Published checkpoints, made once a session."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from encoded_once import _long_texts_are_encoded_once

__all__ = ["_long_texts_are_encoded_once"]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama in float32; copy it before changing it."""
    directory = tmp_path_factory.mktemp("published") / "tiny-llama"
    write_checkpoint(directory)
    return directory


@pytest.fixture
def source(published: Path, tmp_path: Path) -> Path:
    """A copy of `published` to change."""
    return Path(shutil.copytree(published, tmp_path / "source"))
