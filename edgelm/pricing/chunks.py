"""How many prompt tokens are computed at once: as many as the device bears. Pure policy; knows nothing about requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from edgelm.device import Device

_CPU = 128
"""Few tokens at once stay in a CPU's caches (SmolLM2: 272 token/s with 128, 246 with 512), and a stop is sooner over."""

_GPU = 512

_METAL = 2048
"""mlx-lm's own: others measured 2,100 token/s with 512 and 2,600 with 2,048 (0.6B, 16k tokens of context)."""

_FAR_TOKENS = 1 << 16
"""Beyond, chunks are short: macOS kills a command buffer that keeps the GPU from the screen for seconds (mlx #3267)."""

SMALLEST_CHUNK = 32
"""Prompt tokens at once, where memory is short; a prompt that does not fit so does not fit."""

_ATTENTION_PAIRS = 32 * _METAL * _FAR_TOKENS
"""Heads × queries × keys of the longest attention kernel: 32 heads may have 2,048 queries up to 64k tokens of context."""


class ChunkSizes(Protocol):
    """`Chunks`, or what chooses between several."""

    def at(self, context_tokens: int) -> int:
        """Return how many tokens to compute at once behind so many."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """Prompt tokens to compute at once.

    Args:
        near: at most.
        far: at least, beyond 64k tokens of context, and where others wait meanwhile; no more than `near`.
        heads: of attention; more of them make long chunks dearer.
    """

    near: int
    far: int
    heads: int = 1

    def at(self, context_tokens: int) -> int:
        """Behind so many tokens."""
        size = self.near
        while size > self.far and not self._is_bearable(size, context_tokens):
            size //= 2
        return size

    def capped(self, most: int) -> Chunks:
        """Return the same chunks, but never more than `most` tokens at once."""
        return replace(self, near=min(self.near, most), far=min(self.far, most))

    def beside_streams(self) -> Chunks:
        """Return the chunks between the steps of others: each makes them wait once."""
        return self.capped(self.far)

    def _is_bearable(self, size: int, context_tokens: int) -> bool:
        pairs = self.heads * size * (context_tokens + size)
        return context_tokens < _FAR_TOKENS and pairs <= _ATTENTION_PAIRS


def chunks_for(machine: Device, heads: int | None = None) -> Chunks:
    """Return the chunks for this machine and a model of `heads` attention heads (None: not known, taken for 32)."""
    if machine.backend == "cpu":
        return Chunks(_CPU, _CPU)
    return Chunks(_METAL if machine.backend == "metal" else _GPU, _GPU, heads or 32)


def halved(size: int) -> Iterator[int]:
    """Yield ever smaller chunks, for a memory that is short: `size` first, the smallest chunk last."""
    while size > SMALLEST_CHUNK:
        yield size
        size = max(size // 2, SMALLEST_CHUNK)
    yield size
