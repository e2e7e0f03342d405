"""Gradient checkpointing: activations inside a layer are computed again when they are needed, not kept.

Only the layers given are changed, each by a class of its own kind that is put back at the end: no class of mlx-lm is
touched, so another network of the same architecture in this process goes on as it was.

Source: Chen et al. 2016, arXiv:1604.06174.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx


@contextmanager
def recomputed(layers: Iterable[Any]) -> Iterator[None]:
    """While the block runs, `layers` keep only their inputs for the backward pass."""
    changed = [(layer, type(layer)) for layer in layers]
    kinds = {kind: _recomputing(kind) for _, kind in changed}
    try:
        for layer, kind in changed:
            layer.__class__ = kinds[kind]
        yield
    finally:
        for layer, kind in changed:
            layer.__class__ = kind


def _recomputing(kind: type) -> type:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.training:
            return kind.__call__(self, *args, **kwargs)
        traced = [index for index, value in enumerate(args) if _is_float(value)]
        named = [name for name, value in kwargs.items() if _is_float(value)]

        # Masks and caches are closed over: only arrays with a gradient may be arguments of `mx.checkpoint`.
        def inner(parameters: Any, values: list[mx.array], others: list[mx.array]) -> Any:
            kept = self.trainable_parameters()
            self.update(parameters)
            filled = list(args)
            for index, value in zip(traced, values, strict=True):
                filled[index] = value
            result = kind.__call__(self, *filled, **{**kwargs, **dict(zip(named, others, strict=True))})
            self.update(kept)
            return result

        values = [args[index] for index in traced]
        return mx.checkpoint(inner)(self.trainable_parameters(), values, [kwargs[name] for name in named])

    return type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})


def _is_float(value: Any) -> bool:
    return isinstance(value, mx.array) and mx.issubdtype(value.dtype, mx.floating)
