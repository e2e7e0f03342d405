"""mlx-lm's batch caches of full attention as a compiled step sees them: arrays of fixed shapes, and no Python numbers.

What `mlx.core.compile` traces must not depend on how far a sequence is, or every step would be traced anew. So the place of the
next token is an array, the whole buffer is attended to, and the mask hides what is not filled yet. Nothing else is different
from `mlx_lm.models.cache.BatchKVCache`, whose arrays these are.

Shapes: B sequences, H key heads, S positions of the buffer, D head dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx


class StepView:
    """One layer's cache during one step.

    Args:
        keys, values: [B, H, S, D].
        offset: how many tokens of each sequence are known, [B].
        left_padding: [B].
        at: where the next token goes, [1].
    """

    def __init__(
        self, keys: mx.array, values: mx.array, offset: mx.array, left_padding: mx.array, at: mx.array
    ) -> None:
        self.keys, self.values, self.offset, self.left_padding, self._at = (
            keys,
            values,
            offset,
            left_padding,
            at,
        )

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Put one token's keys and values, [B, H, 1, D], in their place; all there are, the empty places too."""
        self.keys = mx.slice_update(self.keys, keys, self._at, (2,))
        self.values = mx.slice_update(self.values, values, self._at, (2,))
        self.offset = self.offset + 1
        return self.keys, self.values

    def make_mask(self, tokens: int, return_array: bool = False, window_size: int | None = None) -> mx.array:
        """Return `[B, 1, 1, S]` bool: what the new token sees; arguments as mlx-lm's networks give them, `tokens` being 1."""
        if tokens != 1:
            raise ValueError(f"a compiled step feeds one token of each sequence, not {tokens}")
        places = mx.arange(self.keys.shape[2])[None]
        seen = places <= self._at
        if window_size is not None:
            seen = seen & (self._at < places + window_size)
        return seen & (self.left_padding[:, None, None, None] <= places)


def take_steps(layers: Sequence[Any]) -> bool:
    """Return whether all caches of a batch are of this kind, and hold something."""
    from mlx_lm.models.cache import BatchKVCache

    return bool(layers) and all(type(layer) is BatchKVCache and layer.keys is not None for layer in layers)


def room(layers: Sequence[Any]) -> int:
    """Return how many tokens fit into the buffers as they are."""
    return int(min(layer.keys.shape[2] - layer._idx for layer in layers))


def arrays_before(layers: Sequence[Any]) -> tuple[mx.array, mx.array, list[mx.array]]:
    """Return what the layers of a batch have in common, offset and padding, and then keys and values of each."""
    first = layers[0]
    return first.offset, first.left_padding, [side for layer in layers for side in (layer.keys, layer.values)]


def place(layers: Sequence[Any]) -> int:
    """Return where the next token goes."""
    return int(layers[0]._idx)


def put_back(layers: Sequence[Any], offset: mx.array, sides: Sequence[mx.array]) -> None:
    """Give the caches what a step made of their arrays."""
    for layer, keys, values in zip(layers, sides[::2], sides[1::2], strict=True):
        layer.keys, layer.values, layer.offset = keys, values, offset
        layer._idx += 1
