"""The step that rows share, compiled: the network is walked in Python once for a shape, and then never again.

A step of a small network costs its host more than the device: hundreds of operations are built in Python, simplified and
dispatched one by one. `mlx.core.compile` keeps what was built and fuses what is elementwise. The first time on a machine its
kernels are compiled themselves, which takes seconds on a CPU; so it is tried on the network (`exactness.compiles`) before
streams wait for it, and rows are compiled only once they have stayed the same for a while.

Shapes: B sequences, V vocab.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from edgelm.runtime.runner import Layers, ModelRunner
from edgelm.zoo.caches.step_view import StepView, arrays_before, place, put_back, room

SETTLED_STEPS = 16
"""Steps that rows have to have shared before theirs is compiled: walking a network once more costs as much as a few steps."""


class CompiledStep:
    """A step of rows that stay the same; made anew when somebody comes or leaves.

    Args:
        stepper: calls the network for these rows.
    """

    def __init__(self, stepper: ModelRunner) -> None:
        self._stepper = stepper
        self._call: Any = mx.compile(self._traced)
        self._next: tuple[int, mx.array] | None = None

    def logits(self, ids: mx.array, layers: Layers) -> mx.array | None:
        """Feed one token of each sequence, `[B]`; the logits after them, `[B, V]`, lazily. None where a buffer is full."""
        if not room(layers):
            return None
        at = place(layers)
        if self._next is None or self._next[0] != at:
            self._next = at, mx.array([at], dtype=mx.int32)
        offset, padding, sides = arrays_before(layers)
        logits, following, offset, *sides = self._call(ids, self._next[1], offset, padding, *sides)
        put_back(layers, offset, sides)
        self._next = at + 1, following
        made: mx.array = logits
        return made

    def _traced(
        self, ids: mx.array, at: mx.array, offset: mx.array, padding: mx.array, *sides: mx.array
    ) -> tuple[mx.array, ...]:
        views = [
            StepView(keys, values, offset, padding, at)
            for keys, values in zip(sides[::2], sides[1::2], strict=True)
        ]
        logits = self._stepper.step(ids, views)
        after = [side for view in views for side in (view.keys, view.values)]
        return logits, at + 1, views[0].offset, *after
