"""The prompt of a pair is computed once: both answers see it, and not each other.

A pair lies in its lane as prompt, chosen answer, rejected answer; each answer begins with the prompt's last token. Behind the
prompt the chosen answer stands where it would alone; the rejected one stands too far back by the chosen one's length. Keys are
rotated by their positions before the cache sees them, and rotations add up: so the rejected answer looks at copies of the
prompt's keys that are turned on by that length, and every distance is what it would be alone. Values have no position.

It holds where keys are turned by plain rotations, which are those of `ROTATIONS`; other scalings multiply as well, or depend on
the length.

Shapes: B lanes, T positions, M copied keys, H heads, D head dim.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx

from edgelm.errors import UnsupportedError
from edgelm.tune.step.packed_cache import VERIFIED, can_pack, packed_caches

ROTATIONS = frozenset({"RoPE", "Llama3RoPE", "NoPE"})
"""Classes of MLX and mlx-lm whose rotations add up."""
_SCALINGS = frozenset({None, "default", "linear", "llama3"})
"""`rope_type` of configs that are built of them."""

PROMPT, CHOSEN, REJECTED = 0, 1, 2
"""Branches."""


class SharedPrompts(NamedTuple):
    """Where pairs lie."""

    pairs: mx.array
    """[B, T]: numbers from 1 within a lane; 0 is padding."""
    branches: mx.array
    """[B, T]: PROMPT, CHOSEN or REJECTED."""
    copies: mx.array
    """[B, M]: positions of prompts, for the rejected answers; 0 where there is none."""
    shifts: mx.array
    """[B, M]: how far they are turned on; 0 where there is none."""


def can_share(config: dict[str, Any]) -> bool:
    """Tell whether prompts can be shared exactly for a network of this (normalised) config."""
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kinds = [scaling, *(value for value in scaling.values() if isinstance(value, dict))]
    return can_pack(config) and all(kind.get("rope_type", kind.get("type")) in _SCALINGS for kind in kinds)


class SharedPromptCache:
    """Stands for the cache of one layer: it keeps nothing, and adds the turned copies of keys.

    Args:
        shared: where pairs lie.
        rope: the layer's rotation.
        head_axes: axes between B and T of the attention scores.
    """

    offset = 0

    def __init__(self, shared: SharedPrompts, rope: Any, head_axes: int = 1) -> None:
        self._shared = shared
        self._rope = rope
        self._axes = tuple(range(1, 1 + head_axes))

    def make_mask(self, length: int, window_size: int | None = None, return_array: bool = True) -> mx.array:
        """bool [B, 1, T, T + M]: True where a position may look. Always an array."""
        pairs, branches, copies, shifts = self._shared
        at = mx.arange(length)
        same = pairs[:, :, None] == pairs[:, None, :]
        asks, seen = branches[:, :, None], branches[:, None, :]
        own = same & (at[:, None] >= at[None]) & ((seen == asks) | ((seen == PROMPT) & (asks == CHOSEN)))
        copied = mx.take_along_axis(pairs, copies, axis=1)
        theirs = (pairs[:, :, None] == copied[:, None, :]) & (asks == REJECTED) & (shifts[:, None, :] > 0)
        if window_size is not None:
            own = own & (at[:, None] - at[None] < window_size)
            theirs = theirs & (at[None, :, None] - (copies + shifts)[:, None, :] < window_size)
        return mx.expand_dims(mx.concatenate([own, theirs], axis=-1), self._axes)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Return `keys` and `values`, [B, H, T, D], with those of the copies behind them: [B, H, T + M, D]."""
        copied = self._gathered(keys)
        B, H, M, D = copied.shape
        # The rotation takes one offset a row of a batch: so every key is one.
        rows = copied.transpose(0, 2, 1, 3).reshape(B * M, H, 1, D)
        turned = self._rope(rows, offset=self._shared.shifts.reshape(-1))
        turned = turned.reshape(B, M, H, D).transpose(0, 2, 1, 3)
        return (
            mx.concatenate([keys, turned.astype(keys.dtype)], axis=2),
            mx.concatenate([values, self._gathered(values)], axis=2),
        )

    def _gathered(self, values: mx.array) -> mx.array:
        return mx.take_along_axis(values, self._shared.copies[:, None, :, None], axis=2)


def shared_caches(network: Any, config: dict[str, Any], shared: SharedPrompts) -> list[SharedPromptCache]:
    """Make what to pass as `cache=` for pairs that share prompts: one for each layer.

    Raises:
        UnsupportedError: the family was not verified, or turns its keys in another way.
    """
    head_axes = VERIFIED[config["model_type"]](network)
    ropes = [layer.self_attn.rope for layer in network.layers]
    others = {type(rope).__name__ for rope in ropes} - ROTATIONS
    if others:
        raise UnsupportedError(f"prompts cannot be shared: {', '.join(sorted(others))} is no plain rotation")
    return [SharedPromptCache(shared, rope, head_axes) for rope in ropes]


def row_caches(network: Any, config: dict[str, Any], segments: mx.array, *shared: mx.array) -> list[Any]:
    """Make what keeps packed rows apart: of pairs that share prompts, `shared` are branches, copies and shifts.

    Raises:
        UnsupportedError: the family was not verified.
    """
    if not shared:
        return [*packed_caches(network, config, segments)]
    return [*shared_caches(network, config, SharedPrompts(segments, *shared))]
