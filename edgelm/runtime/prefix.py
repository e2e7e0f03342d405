"""Reuse of the KV cache between requests: the longest common prefix of their tokens is not computed again.

Ordinary attention caches are cut back to any length. Sliding-window caches that have wrapped and recurrent
states cannot be, so of those a few copies are kept at positions a later prompt is likely to share: near the
end of each prompt (MLX shares the memory of a copy until one side is written to). Knows which tokens are in
the cache, nothing of what they mean.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_KEPT = 3  # copies; each holds the recurrent state or the sliding windows once


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """The caches after `position` tokens; None for a layer that can be cut back instead."""

    position: int
    layers: tuple[Any, ...]


class PrefixCache:
    """The caches of one network, and the tokens that are in them.

    Whoever runs the network must report each token it feeds (`fed`), or `reset` if it cannot tell.
    """

    def __init__(self, network: Any) -> None:
        self._network = network
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._layers: list[Any] | None = None
        self._checkpoints: list[_Checkpoint] = []
        self.tokens: list[int] = []

    def begin(self, prompt: Sequence[int]) -> tuple[list[Any], int]:
        """The caches holding as much of the prompt as can be reused, and how many tokens that is.

        At least the last prompt token is left to compute, since its logits are needed.
        """
        shared = min(common_prefix(self.tokens, prompt), len(prompt) - 1)
        if self._layers is None or not shared or not self._rewind(self._layers, shared):
            self.reset()
            self._layers = _new_layers(self._network)
        return self._layers, len(self.tokens)

    def fed(self, tokens: Iterable[int]) -> None:
        """These tokens have gone through the network."""
        self.tokens.extend(tokens)

    @property
    def needs_checkpoints(self) -> bool:
        """Whether some layer cannot always be cut back."""
        return not all(map(_is_plain, self._layers or ()))

    def checkpoint(self) -> None:
        """Keep the state as it is after the tokens fed so far."""
        position = len(self.tokens)
        if not self.needs_checkpoints or any(point.position == position for point in self._checkpoints):
            return
        layers = tuple(None if _is_plain(layer) else copy.deepcopy(layer) for layer in self._layers or ())
        self._checkpoints = [*self._checkpoints[1 - _KEPT :], _Checkpoint(position, layers)]

    def _rewind(self, layers: list[Any], length: int) -> bool:
        """Go back to at most `length` tokens; False if nothing of the cache can be used."""
        surplus = len(self.tokens) - length
        if surplus and not all(_can_trim(layer, surplus) for layer in layers):
            return self._restore(layers, length)
        if surplus:
            for layer in layers:
                layer.trim(surplus)
        self._keep(length)
        return True

    def _restore(self, layers: list[Any], length: int) -> bool:
        """Go back to the last checkpoint within `length` tokens."""
        usable = [point for point in self._checkpoints if 0 < point.position <= length]
        if not usable:
            return False
        point = usable[-1]
        for index, saved in enumerate(point.layers):
            if saved is None:
                layers[index].trim(len(self.tokens) - point.position)
            else:
                layers[index] = copy.deepcopy(saved)
        self._keep(point.position)
        return True

    def _keep(self, length: int) -> None:
        del self.tokens[length:]
        self._checkpoints = [point for point in self._checkpoints if point.position <= length]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with."""
    for index, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return index
    return min(len(a), len(b))


def _new_layers(network: Any) -> list[Any]:
    from mlx_lm.models.cache import make_prompt_cache

    return list(make_prompt_cache(network))


def _is_plain(layer: Any) -> bool:
    """Whether the layer can be cut back to any length at any time."""
    from mlx_lm.models.cache import CacheList, ConcatenateKVCache, KVCache, QuantizedKVCache

    if type(layer) is CacheList:
        return all(map(_is_plain, layer.caches))
    return type(layer) in (KVCache, QuantizedKVCache, ConcatenateKVCache)


def _can_trim(layer: Any, count: int) -> bool:
    """Whether the layer can be cut back by `count` tokens as it is now."""
    from mlx_lm.models.cache import CacheList, ChunkedKVCache, RotatingKVCache

    if type(layer) is CacheList:
        return all(_can_trim(part, count) for part in layer.caches)
    if type(layer) is RotatingKVCache:
        return bool(layer.is_trimmable())
    if type(layer) is ChunkedKVCache:
        # What slid out of the front is lost, and an earlier token may need it.
        return bool(layer.start_position == 0)
    return _is_plain(layer)
