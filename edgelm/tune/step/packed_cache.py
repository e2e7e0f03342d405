"""Rows that share a lane do not see each other: a stateless cache whose mask is causal within each segment.

mlx-lm's models ask their cache for the attention mask and hand it keys and values. This one answers with a
block-diagonal mask and gives keys and values back unchanged, so no model is forked. Positions run through the lane
without a reset: RoPE is relative, and where the mask isolates, only distances within a row matter. Recurrent and
convolutional layers have no mask and would leak from row to row, so only families that a test has shown to give
the same loss and gradients packed as unpacked are admitted (tests/tune/step/test_packed_cache.py).

Shapes: B lanes, T positions, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from edgelm.errors import UnsupportedError


def _one_head_axis(_: Any) -> int:
    return 1


def _gemma2_head_axes(network: Any) -> int:
    """Gemma 2 writes its attention out, with grouped heads on two axes."""
    return 2 if network.layers[0].self_attn.repeats > 1 else 1


VERIFIED: dict[str, Callable[[Any], int]] = {
    "llama": _one_head_axis,
    "mistral": _one_head_axis,
    "qwen2": _one_head_axis,
    "qwen3": _one_head_axis,
    "gemma": _one_head_axis,
    "gemma2": _gemma2_head_axes,
    "gemma3_text": _one_head_axis,
    "phi3": _one_head_axis,
    "olmo2": _one_head_axis,
    "starcoder2": _one_head_axis,
    "smollm3": _one_head_axis,
}
"""Config `model_type` → head axes between B and T of the attention scores."""


class PackedCache:
    """Stands for the cache of one layer, or of all: it keeps nothing.

    Args:
        segments: int [B, T]; positions see only earlier ones of the same number.
        head_axes: axes between B and T of the attention scores.
    """

    offset = 0

    def __init__(self, segments: mx.array, head_axes: int = 1) -> None:
        self._segments = segments
        self._axes = tuple(range(1, 1 + head_axes))

    def make_mask(self, length: int, window_size: int | None = None, return_array: bool = True) -> mx.array:
        """bool [B, 1, T, T]: True where the position of a row may look. Always an array."""
        at = mx.arange(length)
        distance = at[:, None] - at[None]
        seen = distance >= 0
        if window_size is not None:
            seen = seen & (distance < window_size)
        same = self._segments[:, :, None] == self._segments[:, None, :]
        return mx.expand_dims(same & seen, self._axes)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Return `keys` and `values`, [B, H, T, D], as they are."""
        return keys, values


def can_pack(config: dict[str, Any]) -> bool:
    """Tell whether rows can be packed exactly for a network of this (normalised) config."""
    return config.get("model_type") in VERIFIED


def require_packable(config: dict[str, Any]) -> None:
    """Refuse to pack for a family that was not verified.

    Raises:
        UnsupportedError: naming the family.
    """
    if not can_pack(config):
        raise UnsupportedError(
            f"packing was not verified for {config.get('model_type')!r}, only for {', '.join(sorted(VERIFIED))}",
            hint="leave packing out: batches of like lengths are used instead",
        )


def packed_caches(network: Any, config: dict[str, Any], segments: mx.array) -> list[PackedCache]:
    """Make what to pass as `cache=` for packed `segments` [B, T]: one for each layer.

    Raises:
        UnsupportedError: the family was not verified.
    """
    require_packable(config)
    cache = PackedCache(segments, VERIFIED[config["model_type"]](network))
    return [cache] * len(network.layers)
