"""Everything here needs an Apple GPU, and is collected and skipped elsewhere."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
from checkpoints import write_checkpoint


@pytest.fixture(autouse=True)
def _apple_gpu(home: Path) -> None:
    if not mx.metal.is_available():
        pytest.skip("no Apple GPU")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A tiny bfloat16 model with heads that MLX can quantize."""
    write_checkpoint(tmp_path / "tiny", "qwen3", dtype="bfloat16", max_position_embeddings=4096)
    return tmp_path / "tiny"
