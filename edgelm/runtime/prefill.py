"""How a prompt is computed: in chunks as long as the device bears, each layer by layer, with the device never idle.

All layers of a chunk are started before the first is waited for; then they are waited for in order, so that a stop is
heard between two layers, and sooner where MLX itself holds starts back. Pure policy and order; knows nothing about requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx

from edgelm.device import Device
from edgelm.runtime.cache.leaves import arrays_of, leaves_of

_CPU = 128
"""Few tokens at once stay in a CPU's caches (SmolLM2: 272 token/s with 128, 246 with 512), and a stop is sooner over."""

_GPU = 512

_METAL = 2048
"""mlx-lm's own: others measured 2,100 token/s with 512 and 2,600 with 2,048 (0.6B, 16k tokens of context)."""

_FAR_TOKENS = 1 << 16
"""Beyond, chunks are short: macOS kills a command buffer that keeps the GPU from the screen for seconds (mlx #3267)."""

_ATTENTION_PAIRS = 32 * _METAL * _FAR_TOKENS
"""Heads × queries × keys of the longest attention kernel: 32 heads may have 2,048 queries up to 64k tokens of context."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """Prompt tokens to compute at once.

    Args:
        near: at most.
        far: at least, and beyond 64k tokens of context; no more than `near`.
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
        """The same, but never more than `most` at once."""
        return replace(self, near=min(self.near, most), far=min(self.far, most))

    def _is_bearable(self, size: int, context_tokens: int) -> bool:
        pairs = self.heads * size * (context_tokens + size)
        return context_tokens < _FAR_TOKENS and pairs <= _ATTENTION_PAIRS


def chunks_for(machine: Device, heads: int | None = None) -> Chunks:
    """For this machine, and a model of so many attention heads (None: not known, taken for 32); memory may allow less."""
    if machine.backend == "cpu":
        return Chunks(_CPU, _CPU)
    return Chunks(_METAL if machine.backend == "metal" else _GPU, _GPU, heads or 32)


class Underway:
    """The layers of a chunk that has been built."""

    def __init__(self) -> None:
        self._unstarted: deque[list[mx.array]] = deque()
        self._started: deque[list[mx.array]] = deque()

    def compute(self, layers: Iterable[Any], is_cancelled: Callable[[], bool]) -> bool:
        """Start every layer's state, then wait for each in order; False if cancelled, and the rest is for `settle`.

        Args:
            layers: the caches that the chunk was fed to.
        """
        states = (arrays_of(leaf.state) for leaf in leaves_of(layers))
        self._unstarted.extend(state for state in states if state)
        return self._start(is_cancelled) and self._wait(is_cancelled)

    def settle(self) -> None:
        """Compute what is left."""
        self._start(_never)
        self._wait(_never)

    def _start(self, is_cancelled: Callable[[], bool]) -> bool:
        while self._unstarted:
            state = self._unstarted.popleft()
            mx.async_eval(state)  # type: ignore[no-untyped-call]
            self._started.append(state)
            if is_cancelled():  # MLX lets some tens of command buffers wait, then this call waits
                return False
        return True

    def _wait(self, is_cancelled: Callable[[], bool]) -> bool:
        while self._started:
            mx.eval(self._started.popleft())
            if is_cancelled():
                return False
        return True


def _never() -> bool:
    return False
