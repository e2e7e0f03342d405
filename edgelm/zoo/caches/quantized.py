"""Quantized KV caches that can stand side by side, which mlx-lm's cannot.

A row is quantized as it is alone, so that it says the same. Its numbers are packed words, scales and biases, `[B, H, T, ·]`
each, wherever mlx-lm's `BatchKVCache` has one array. Import it inside functions: it imports mlx_lm.

Shapes: B sequences, H key heads, T tokens, D head dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import BatchKVCache, QuantizedKVCache, dynamic_roll

Packed = tuple[mx.array, ...]
"""Words, scales and biases, `[B, H, T, ·]`."""


class PackedKVCache(QuantizedKVCache):  # type: ignore[misc] # mlx_lm is untyped
    """A quantized KV cache of one sequence."""

    def size(self) -> int:
        """Return how many tokens it holds."""
        return int(self.offset)

    @classmethod
    def merge(cls, caches: Sequence[PackedKVCache]) -> BatchPackedKVCache:
        """Return the caches side by side, padded on the left, copied."""
        longest = max(cache.offset for cache in caches)
        padding = [longest - cache.offset for cache in caches]
        batch = BatchPackedKVCache(padding, caches[0].group_size, caches[0].bits)
        like = next((cache for cache in caches if cache.keys is not None), None)
        if like is None or not longest:
            return batch
        for name in ("keys", "values"):
            parts = getattr(like, name)
            joined = tuple(
                mx.zeros((len(caches), part.shape[1], longest, part.shape[3]), part.dtype) for part in parts
            )
            for row, (start, cache) in enumerate(zip(padding, caches, strict=True)):
                for whole, part in zip(joined, getattr(cache, name) or (), strict=False):
                    whole[row : row + 1, :, start:] = part[..., : cache.offset, :]
            setattr(batch, name, joined)
        batch.offset += longest
        batch._idx = longest
        return batch


class BatchPackedKVCache(BatchKVCache):  # type: ignore[misc] # mlx_lm is untyped
    """Quantized KV caches of several sequences.

    Args:
        left_padding: of each sequence.
        group_size: numbers that share a scale and a bias.
        bits: of each number.
    """

    keys: Any
    values: Any
    offset: Any
    left_padding: Any
    _right_padding: Any
    _idx: int

    def __init__(self, left_padding: Sequence[int], group_size: int, bits: int) -> None:
        super().__init__(list(left_padding))
        self.group_size, self.bits = group_size, bits

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Packed, Packed]:
        """Add rows `[B, H, T, D]`; all rows, packed."""
        prev, count = self._idx, keys.shape[2]
        end = prev + count
        new = [tuple(mx.quantize(rows, self.group_size, self.bits)) for rows in (keys, values)]
        if self.keys is None or end > self.keys[0].shape[2]:
            more = -(-count // self.step) * self.step
            held = (self.keys, self.values)
            self.keys, self.values = (
                _longer(old, parts, prev, more) for old, parts in zip(held, new, strict=True)
            )
        for whole, parts in zip((self.keys, self.values), new, strict=True):
            for array, part in zip(whole, parts, strict=True):
                array[..., prev:end, :] = part
        self.offset = self.offset + count
        self._idx = end
        return self.keys_and_values()

    def keys_and_values(self) -> tuple[Packed, Packed]:
        """Return all rows, packed."""
        keys, values = (
            tuple(part[..., : self._idx, :] for part in whole) for whole in (self.keys, self.values)
        )
        return keys, values

    def finalize(self) -> None:
        """Turn padding on the right into padding on the left."""
        if self._right_padding is not None:
            padding = self._right_padding
            self._change(lambda part: dynamic_roll(part, padding[:, None], axis=2))
            self.offset = self.offset - padding
            self.left_padding += padding
            self._right_padding = None

    def filter(self, batch_indices: Any) -> None:
        """Keep these sequences, without padding that all of them have."""
        self._change(lambda part: part[mx.array(batch_indices)])
        self.offset = self.offset[mx.array(batch_indices)]
        self.left_padding = self.left_padding[mx.array(batch_indices)]
        least = min(self.left_padding.tolist())
        if least > 0:
            self._change(lambda part: part[..., least:, :])
            self._idx -= least
            self.left_padding -= least

    def extend(self, other: BatchPackedKVCache) -> None:
        """Put the sequences of `other` behind these."""
        like = next((cache for cache in (self, other) if cache.keys is not None), None)
        end = max(self._idx, other._idx)
        if like is not None:
            for name in ("keys", "values"):
                parts = zip(_flush(self, like, name, end), _flush(other, like, name, end), strict=True)
                setattr(self, name, tuple(mx.concatenate(list(pair)) for pair in parts))
        paddings = [cache.left_padding + (end - cache._idx) for cache in (self, other)]
        self.left_padding = mx.concatenate(paddings)
        self.offset = mx.concatenate([self.offset, other.offset])
        self._idx = end

    def extract(self, idx: int) -> PackedKVCache:
        """Return the cache of one sequence alone, copied; waits for its padding to be known."""
        return self.alone(idx, self._idx - self.left_padding.tolist()[idx])

    def alone(self, row: int, tokens: int) -> PackedKVCache:
        """Return the cache of one sequence alone, which holds so many tokens, copied lazily."""
        cache = PackedKVCache(self.group_size, self.bits)
        kept = slice(self._idx - tokens, self._idx)
        cache.keys, cache.values = (
            tuple(mx.contiguous(part[row : row + 1, :, kept]) for part in whole)
            for whole in (self.keys, self.values)
        )
        cache.offset = tokens
        return cache

    @property
    def nbytes(self) -> int:
        """The bytes that it takes."""
        return sum(part.nbytes for whole in (self.keys, self.values) for part in whole or ())

    def _change(self, change: Callable[[mx.array], mx.array]) -> None:
        if self.keys is not None:
            self.keys, self.values = (tuple(map(change, whole)) for whole in (self.keys, self.values))


def _longer(held: Packed | None, like: Packed, length: int, more: int) -> Packed:
    """The first `length` rows of `held` with room for `more` behind them."""
    room = [mx.zeros((*part.shape[:2], more, part.shape[3]), part.dtype) for part in like]
    if held is None:
        return tuple(room)
    return tuple(
        mx.concatenate([part[..., :length, :], new], axis=2) for part, new in zip(held, room, strict=True)
    )


def _flush(cache: BatchPackedKVCache, like: BatchPackedKVCache, name: str, end: int) -> Packed:
    """The rows of `cache`, padded on the left so that they end at `end`."""
    parts: Packed | None = getattr(cache, name)
    if parts is None:
        rows = cache.offset.shape[0]
        return tuple(
            mx.zeros((rows, part.shape[1], end, part.shape[3]), part.dtype) for part in getattr(like, name)
        )
    left = end - cache._idx
    return tuple(mx.pad(part[..., : cache._idx, :], [(0, 0), (0, 0), (left, 0), (0, 0)]) for part in parts)
