"""Which caches can stand side by side in mlx-lm's batch caches."""

from __future__ import annotations

from typing import Any


def stands_side_by_side(cache: Any) -> bool:
    """Whether mlx-lm has a batch cache of this kind that keeps what the cache alone keeps."""
    from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache

    if type(cache) is CacheList:
        return all(map(stands_side_by_side, cache.caches))
    if type(cache) is RotatingKVCache:
        return bool(cache.keep == 0)  # the batch cache keeps no first tokens
    return type(cache) in (KVCache, ArraysCache)
