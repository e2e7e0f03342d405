"""Tokenizers of families, for all tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support import family_tokenizers


@pytest.fixture(scope="session")
def build_family() -> Callable[..., Any]:
    """`build(markers, template)` → mlx-lm's TokenizerWrapper."""
    return family_tokenizers.build_family
