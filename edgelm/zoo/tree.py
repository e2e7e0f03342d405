"""A network seen as flat lists: parameters and leaf modules by their dotted paths."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten


def flat_parameters(module: Any) -> dict[str, mx.array]:
    """Return every parameter by path, in the order mlx-lm saves them."""
    return dict(tree_flatten(module.parameters()))


def flat_trainable(module: Any) -> dict[str, mx.array]:
    """Return every parameter that is not frozen, by path."""
    return dict(tree_flatten(module.trainable_parameters()))


def flat_arrays(tree: Any) -> dict[str, mx.array]:
    """Return every array of nested dictionaries and lists, by dotted path."""
    return dict(tree_flatten(tree))


def leaf_modules(network: Any) -> dict[str, Any]:
    """Return every module without children by path, in the same order."""
    return dict(tree_flatten(network.leaf_modules(), is_leaf=nn.Module.is_module))


def number(value: mx.array) -> float:
    """Return the one number of an array, evaluated."""
    found: float = value.item()  # type: ignore[assignment]
    return found
