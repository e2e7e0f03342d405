"""How a chunk of a prompt is computed: layer by layer, with the device never idle.

All layers of a chunk are started before the first is waited for; then they are waited for in order, so that a stop is
heard between two layers, and sooner where MLX itself holds starts back. Pure policy and order; knows nothing about requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, TypeVar

import mlx.core as mx

from edgelm.zoo.caches.leaves import arrays_of, leaves_of

T = TypeVar("T")


class Underway:
    """The layers of a chunk that has been built.

    Args:
        layers: the caches that the chunk was fed to.
    """

    def __init__(self, layers: Iterable[Any] = ()) -> None:
        self._unstarted: deque[list[mx.array]] = deque()
        self._started: deque[list[mx.array]] = deque()
        self._add(layers)

    def compute(self, layers: Iterable[Any], is_cancelled: Callable[[], bool]) -> bool:
        """Start every layer's state, then wait for each in order; False if cancelled, and the rest is for `settle`.

        Args:
            layers: the caches that the chunk was fed to.
        """
        self._add(layers)
        return self.start(is_cancelled) and self.wait(is_cancelled)

    def settle(self) -> None:
        """Compute what is left."""
        self.start(_never)
        self.wait(_never)

    def _add(self, layers: Iterable[Any]) -> None:
        states = (arrays_of(leaf.state) for leaf in leaves_of(layers))
        self._unstarted.extend(state for state in states if state)

    def start(self, is_cancelled: Callable[[], bool]) -> bool:
        """Start every layer's state; False if cancelled."""
        while self._unstarted:
            state = self._unstarted.popleft()
            mx.async_eval(state)  # type: ignore[no-untyped-call]
            self._started.append(state)
            if is_cancelled():  # MLX lets some tens of command buffers wait, then this call waits
                return False
        return True

    def wait(self, is_cancelled: Callable[[], bool]) -> bool:
        """Wait for what was started, in order; False if cancelled."""
        while self._started:
            mx.eval(self._started.popleft())
            if is_cancelled():
                return False
        return True


Chunk = tuple[Underway, Sequence[int]]
"""A chunk that has been built, and how many tokens of each sequence are computed with it; work yields one after the other."""


def finish(work: Generator[Chunk, None, T], is_cancelled: Callable[[], bool]) -> T | None:
    """Return what `work` comes to once all its chunks are computed; None if cancelled on the way."""
    while not is_cancelled():
        try:
            underway, _ = next(work)
        except StopIteration as end:
            value: T = end.value
            return value
        if not (underway.start(is_cancelled) and underway.wait(is_cancelled)):
            break
    return None


def _never() -> bool:
    return False
