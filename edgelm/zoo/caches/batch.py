"""Which caches can stand side by side in mlx-lm's batch caches, and how one is taken out again.

Shapes: B sequences, H key heads, T tokens, D head dim.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx


def stands_side_by_side(cache: Any) -> bool:
    """Return whether mlx-lm has a batch cache of this kind that keeps what the cache alone keeps."""
    from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache

    from edgelm.zoo.caches.quantized import PackedKVCache

    if type(cache) is CacheList:
        return all(map(stands_side_by_side, cache.caches))
    if type(cache) is RotatingKVCache:
        return bool(cache.keep == 0)  # the batch cache keeps no first tokens
    return type(cache) in (KVCache, ArraysCache, PackedKVCache)


def extract_row(cache: Any, row: int, tokens: int) -> Any:
    """Return the cache of one sequence alone, copied lazily, out of a batch cache.

    mlx-lm's own `extract` reads the padding back, which waits for everything that has been started; how much of it there is
    follows from how long the sequence is.

    Args:
        row: which of the B sequences.
        tokens: how many of it the cache holds or has held.
    """
    from mlx_lm.models.cache import BatchKVCache, BatchRotatingKVCache, CacheList, KVCache, RotatingKVCache

    from edgelm.zoo.caches.quantized import BatchPackedKVCache

    if type(cache) is CacheList:
        return CacheList(*(extract_row(part, row, tokens) for part in cache.caches))
    if type(cache) is BatchPackedKVCache:
        return cache.alone(row, tokens)
    if type(cache) is BatchKVCache:
        alone = KVCache()
        kept = slice(cache._idx - tokens, cache._idx)
        alone.keys = mx.contiguous(cache.keys[row : row + 1, :, kept])  # [1, H, T, D]
        alone.values = mx.contiguous(cache.values[row : row + 1, :, kept])
        alone.offset = tokens
        return alone
    if type(cache) is BatchRotatingKVCache:
        alone = RotatingKVCache(cache.max_size)
        alone.keys, alone.values = (
            _in_order(cache, rows[row : row + 1]) for rows in (cache.keys, cache.values)
        )
        end = cache.max_size if cache.rotated else cache._idx
        kept = slice(max(0, end - tokens), end)
        alone.keys, alone.values = (
            mx.contiguous(alone.keys[:, :, kept]),
            mx.contiguous(alone.values[:, :, kept]),
        )
        alone.offset, alone._idx = tokens, alone.keys.shape[2]
        return alone
    return cache.extract(row)


def _in_order(cache: Any, rows: mx.array) -> mx.array:
    return mx.roll(rows, -cache._idx, 2) if cache.rotated else rows
