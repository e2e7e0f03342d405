"""A network seen as flat lists: parameters and leaf modules by their dotted paths."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten


def flat_parameters(module: Any) -> dict[str, mx.array]:
    """Every parameter by path, in the order mlx-lm saves them."""
    return dict(tree_flatten(module.parameters()))


def leaf_modules(network: Any) -> dict[str, Any]:
    """Every module without children by path, in the same order."""
    return dict(tree_flatten(network.leaf_modules(), is_leaf=nn.Module.is_module))


def number(value: mx.array) -> float:
    """The one number of an array, evaluated."""
    found: float = value.item()  # type: ignore[assignment]
    return found
