"""How many freed buffers MLX keeps while a step runs: none where each is used once, some where work repeats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx

REUSED_BYTES = 512 << 20
"""What is kept where work repeats."""


@contextmanager
def buffer_cache(size_bytes: int) -> Iterator[None]:
    """Let MLX keep `size_bytes` of freed buffers during the block."""
    before = mx.set_cache_limit(size_bytes)
    try:
        yield
    finally:
        mx.set_cache_limit(before)
