"""A device that computes beside Python, in virtual time: what a GPU's queue does to a loop, on any machine and under any load.

`mx.async_eval` starts what has been built and returns; `mx.eval` waits for the end of what it names. Values are MLX's
own; only time is made up: each forward pass takes `forward_s` on the device, everything else on it nothing, and it does
one thing after another. Python takes no time but what `work` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import pytest


class VirtualDevice:
    """Two clocks, in seconds, and what was asked in which order.

    Args:
        forward_s: that one call of a network takes.
    """

    def __init__(self, forward_s: float = 0.005) -> None:
        self.forward_s = forward_s
        self.now = 0.0
        """Python's clock."""
        self.free_at = 0.0
        """When the device has done all that was started."""
        self.log: list[str] = []
        self._built_s = 0.0  # of forward passes that are built and not started
        self._ends: dict[int, tuple[mx.array, float]] = {}  # the array too, so that its id stays its own
        self._really_eval, self._really_start = mx.eval, mx.async_eval

    def network(self, network: Any, *, forward_s: float | None = None, name: str = "build") -> Any:
        """`network`, whose calls take time on this device."""
        return _Timed(self, network, self.forward_s if forward_s is None else forward_s, name)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> VirtualDevice:
        """Take MLX's place."""
        monkeypatch.setattr(mx, "async_eval", self._start)
        monkeypatch.setattr(mx, "eval", self._wait)
        return self

    def work(self, seconds: float) -> None:
        """Python is busy."""
        self.now += seconds

    def built(self, name: str, seconds: float) -> None:
        """A forward pass was built."""
        self.log.append(name)
        self._built_s += seconds

    def _start(self, *trees: Any) -> None:
        self.log.append("start")
        self._begin(list(arrays_in(trees)))

    def _wait(self, *trees: Any) -> None:
        arrays = list(arrays_in(trees))
        self._begin([array for array in arrays if id(array) not in self._ends])
        self.log.append("read")
        self.now = max([self.now, *(self._ends[id(array)][1] for array in arrays)])

    def _begin(self, arrays: list[mx.array]) -> None:
        """What is started now stands behind all that was started before."""
        self._really_eval(arrays)
        if not arrays:
            return
        self.free_at = max(self.free_at, self.now) + self._built_s
        self._built_s = 0.0
        for array in arrays:
            self._ends.setdefault(id(array), (array, self.free_at))


class _Timed:
    def __init__(self, device: VirtualDevice, network: Any, forward_s: float, name: str) -> None:
        self._device = device
        self._network = network
        self._forward_s = forward_s
        self._name = name

    def __call__(self, ids: mx.array, cache: Any) -> mx.array:
        self._device.built(self._name, self._forward_s)
        logits: mx.array = self._network(ids, cache=cache)
        return logits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


def arrays_in(tree: Any) -> Iterator[mx.array]:
    """The arrays in nested lists, tuples and dicts."""
    if isinstance(tree, mx.array):
        yield tree
    elif isinstance(tree, dict):
        yield from arrays_in(list(tree.values()))
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from arrays_in(part)
