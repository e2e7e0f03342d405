"""Tensors made of others, whoever holds them: arrays at hand, or a source that is read later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import mlx.core as mx

T = TypeVar("T")
Compute = Callable[[list[mx.array]], mx.array]
Derive = Callable[[Sequence[T], Compute], T]
"""Makes one tensor of others by a function of arrays."""


def shape_of(tensor: Any) -> tuple[int, ...]:
    """Return the shape of an array, or of a tensor that is not read yet."""
    return tuple(tensor.shape)


def same(given: list[mx.array]) -> mx.array:
    """Return the one array that is given: a second tensor like it."""
    return given[0]


def turned(given: list[mx.array]) -> mx.array:
    """Return the one array that is given with its last two axes swapped."""
    return mx.swapaxes(given[0], -1, -2)
