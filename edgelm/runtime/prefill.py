"""How a chunk of a prompt is computed: layer by layer, with the device never idle.

All layers of a chunk are started before the first is waited for; then they are waited for in order, so that a stop is
heard between two layers, and sooner where MLX itself holds starts back. Pure policy and order; knows nothing about requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import mlx.core as mx

from edgelm.zoo.caches.leaves import arrays_of, leaves_of


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
