"""How large a network's cache grows, found by tracing the network itself: no table of architectures.

MLX is lazy, so an unread network applied to unread tokens fills its cache with arrays that have shapes and
no memory (a 70B llama: 60 ms, 14 kB). Two prompt lengths tell what grows with the tokens from what does not.
Counts elements, since the type they are kept in is the device's choice; knows nothing about memory.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

_SHORT, _LONG = 256, 512
"""Multiples of the step in which mlx-lm's caches grow."""

_EVALUATES = re.compile(r"\.item\(|\.tolist\(|np\.array\(|mx\.eval\(")


@dataclass(frozen=True, slots=True)
class LayerCache:
    """What one layer keeps."""

    elements_per_token: int
    fixed_elements: int
    """Recurrent state and the like, whatever the length."""
    window: int | None
    """Tokens kept at most; None keeps all."""

    def elements_at(self, tokens: int) -> int:
        """Return the elements kept after `tokens` tokens."""
        kept = tokens if self.window is None else min(tokens, self.window)
        return self.fixed_elements + self.elements_per_token * kept


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What all layers keep, for one sequence."""

    layers: tuple[LayerCache, ...]

    def elements_at(self, tokens: int) -> int:
        """Return the elements kept after `tokens` tokens."""
        return sum(layer.elements_at(tokens) for layer in self.layers)

    @property
    def growing_elements_per_token(self) -> int:
        """Elements that each token adds once every window is full."""
        return sum(layer.elements_per_token for layer in self.layers if layer.window is None)

    @property
    def largest_layer_elements_per_token(self) -> int:
        """The elements that each token adds to the layer that grows fastest."""
        return max((layer.elements_per_token for layer in self.layers), default=0)


def trace_cache(network: Any) -> CacheShape | None:
    """Trace the cache of an unread mlx-lm network (see `build_network`); None where it cannot be told.

    A network that looks at values while it runs is not traced: that would fill its weights with random
    numbers. Nor is one that fails on a plain text prompt.
    """
    if _EVALUATES.search(inspect.getsource(inspect.getmodule(type(network)))):  # type: ignore[arg-type]
        return None
    try:
        short, long = (_traced_layers(network, tokens) for tokens in (_SHORT, _LONG))
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, RuntimeError):
        return None
    return CacheShape(tuple(map(_compare, short, long)))


def _traced_layers(network: Any, tokens: int) -> list[tuple[int, int | None]]:
    """(elements, window) of each simple cache after a prompt of `tokens` tokens."""
    from mlx_lm.models.cache import make_prompt_cache

    caches = make_prompt_cache(network)
    network(mx.zeros((1, tokens), dtype=mx.int32), cache=caches)
    return [(_count_elements(cache), _window(cache)) for cache in _simple_caches(caches)]


def _compare(short: tuple[int, int | None], long: tuple[int, int | None]) -> LayerCache:
    per_token = (long[0] - short[0]) // (_LONG - _SHORT)
    return LayerCache(per_token, short[0] - per_token * _SHORT, long[1])


def _simple_caches(caches: Any) -> Iterator[Any]:
    for cache in caches:
        if hasattr(cache, "caches"):
            yield from _simple_caches(cache.caches)
        elif cache is not None:
            yield cache


def _window(cache: Any) -> int | None:
    """`max_size` of a sliding window, `chunk_size` of chunked attention."""
    for name in ("max_size", "chunk_size"):
        size = getattr(cache, name, None)
        if isinstance(size, int):
            return size
    return None


def _count_elements(value: Any) -> int:
    if isinstance(value, mx.array):
        return value.size
    if isinstance(value, (list, tuple)):
        return sum(map(_count_elements, value))
    if hasattr(value, "__dict__"):
        return sum(map(_count_elements, vars(value).values()))
    return 0
