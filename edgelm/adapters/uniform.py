"""Adapters of several ranks and scales as one rank and one scale, which is all that mlx-lm's format has.

The smaller ranks are filled with zeros and a different scale is multiplied into `lora_b`: neither changes what is computed.

Shapes: I inputs, O outputs, R rank, E experts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mlx.core as mx

_RANK_AXIS = 1
"""The axis of the rank in `lora_a`: `[I, R]`, or `[E, R, I]` for experts."""


def rank_of(tensors: Mapping[str, mx.array]) -> int:
    """Return the largest rank among adapters by path; 0 without any."""
    return max(
        (value.shape[_RANK_AXIS] for name, value in tensors.items() if name.endswith(".lora_a")), default=0
    )


def uniform(
    tensors: Mapping[str, mx.array], scale_of: Callable[[str], float], scale: float
) -> dict[str, mx.array]:
    """Return the same adapters with the largest rank among them and one `scale`.

    Args:
        tensors: by path, ending in lora_a, lora_b or m; others pass as they are.
        scale_of: module path → the scale its adapter has now.
    """
    rank = rank_of(tensors)
    return {name: _uniform(name, value, scale_of, scale, rank) for name, value in tensors.items()}


def _uniform(
    name: str, value: mx.array, scale_of: Callable[[str], float], scale: float, rank: int
) -> mx.array:
    module, _, leaf = name.rpartition(".")
    if leaf not in ("lora_a", "lora_b"):
        return value
    axis = _RANK_AXIS
    if leaf == "lora_b":
        axis = 2 if value.ndim == 3 else 0  # [E, O, R], or [R, O]
        ratio = scale_of(module) / scale
        value = value if ratio == 1 else value * ratio
    missing = rank - value.shape[axis]
    widths = [(0, missing if index == axis else 0) for index in range(value.ndim)]
    return mx.pad(value, widths) if missing else value
