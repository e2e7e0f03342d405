"""Makes the caches of a network, of the kind that was asked for, or says that this architecture cannot.

mlx-lm hands out the kind that an architecture makes for itself and ignores what was asked for (`max_kv_size` on
the 53 models with a `make_cache`). Here every leaf is replaced by what was asked for, and the network is traced
once with it: building the graph of a prompt costs nothing, and one that does not take the cache fails there.
Import it inside functions: it imports mlx_lm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import (
    ArraysCache,
    CacheList,
    ChunkedKVCache,
    KVCache,
    RotatingKVCache,
    make_prompt_cache,
)

from edgelm.errors import UnsupportedError
from edgelm.zoo.caches.leaves import MakeLayers, leaves_of
from edgelm.zoo.caches.quantized import PackedKVCache
from edgelm.zoo.caches.settings import CacheSettings
from edgelm.zoo.protocol import architecture_of

_SINKS = 4  # first tokens that are always kept: attention falls apart without them (arXiv:2309.17453)
_GROUPS = (64, 32)


class CastKVCache(KVCache):  # type: ignore[misc] # mlx_lm is untyped
    """A KV cache that keeps its rows in another type than the network computes in."""

    def __init__(self, dtype: mx.Dtype) -> None:
        super().__init__()
        self._kept = dtype
        self._computed: mx.Dtype | None = None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Add rows; all rows, in the type of those that came in."""
        self._computed = keys.dtype
        found: tuple[mx.array, mx.array] = super().update_and_fetch(
            keys.astype(self._kept), values.astype(self._kept)
        )
        return found

    def keys_and_values(self) -> tuple[mx.array, mx.array]:
        """Return all rows, in the type that the network computes in."""
        keys, values = super().keys_and_values()
        computed = self._computed or self._kept
        return keys.astype(computed), values.astype(computed)


class BoundedKVCache(RotatingKVCache):  # type: ignore[misc] # mlx_lm is untyped
    """A KV cache of the first `_SINKS` tokens and the last ones, `size` in all.

    mlx-lm's own hides the first tokens from every call that feeds several at once, so what it computes depends on how
    a prompt is cut into chunks. Here each token sees the same ones however it is fed, which is what reuse and
    speculation need to be exact.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, keep=_SINKS)

    def make_mask(self, N: int, window_size: int | None = None, return_array: bool = False) -> Any:  # noqa: N803
        """Return what N tokens fed together see: `[N, held + N]` bool, or "causal" where nothing is hidden."""
        if N == 1 or window_size is not None:
            return super().make_mask(N, window_size=window_size, return_array=return_array)
        held = min(self.max_size - 1, self.offset)
        if held + N <= self.max_size and not return_array:
            return "causal"
        seen_from = mx.arange(held, held + N)[:, None]
        column = mx.arange(held + N)[None]
        is_near = seen_from - column < self.max_size - self.keep
        return (column <= seen_from) & (is_near | (column < self.keep))


def layer_maker(network: Any, settings: CacheSettings | None = None) -> MakeLayers:
    """Return what makes fresh caches for `network`.

    Raises:
        UnsupportedError: this architecture cannot be run with these settings; it is named.
    """
    settings = settings or CacheSettings()

    def make() -> list[Any]:
        return list(make_prompt_cache(network))

    replace = _replacement(network, make, settings)
    if replace is None:
        return make

    def make_replaced() -> list[Any]:
        return [_replaced(layer, replace) for layer in make()]

    _try_out(network, make_replaced, settings)
    return make_replaced


def _replacement(network: Any, make: MakeLayers, settings: CacheSettings) -> Callable[[Any], Any] | None:
    if settings.kv_bits is not None:
        bits, group_size = settings.kv_bits, _group_size(network, make)
        return _only_full(network, make, lambda: PackedKVCache(group_size, bits))
    if settings.kv_dtype is not None:
        dtype: mx.Dtype = getattr(mx, settings.kv_dtype)
        return _only_full(network, make, lambda: CastKVCache(dtype))
    if settings.max_context is not None:
        size = settings.max_context
        return lambda leaf: _bounded(leaf, size, network)
    return None


def _only_full(network: Any, make: MakeLayers, build: Callable[[], Any]) -> Callable[[Any], Any]:
    """Replaces full attention, whose cache grows; windows and states are bounded as they are."""
    if not any(type(leaf) is KVCache for leaf in leaves_of(make())):
        raise _unsupported(network, "it has no full attention whose cache could be made smaller")
    return lambda leaf: build() if type(leaf) is KVCache else leaf


def _bounded(leaf: Any, size: int, network: Any) -> Any:
    if type(leaf) is KVCache:
        return BoundedKVCache(size)
    if type(leaf) is RotatingKVCache:
        return leaf if leaf.max_size <= size else RotatingKVCache(size, keep=leaf.keep)
    is_bounded = type(leaf) is ArraysCache or (type(leaf) is ChunkedKVCache and leaf.chunk_size <= size)
    if not is_bounded:
        raise _unsupported(network, f"its {type(leaf).__name__} cannot be bounded to {size} tokens")
    return leaf


def _replaced(layer: Any, replace: Callable[[Any], Any]) -> Any:
    if type(layer) is CacheList:
        return CacheList(*(_replaced(part, replace) for part in layer.caches))
    return layer if layer is None else replace(layer)


def _group_size(network: Any, make: MakeLayers) -> int:
    """The largest group that divides every row."""
    layers = make()
    network(mx.zeros((1, 1), dtype=mx.int32), cache=layers)  # lazy: only shapes are computed
    widths = {
        rows.shape[-1]
        for leaf in leaves_of(layers)
        if type(leaf) is KVCache and leaf.keys is not None
        for rows in (leaf.keys, leaf.values)
    }
    for group in _GROUPS:
        if all(width % group == 0 for width in widths):
            return group
    raise _unsupported(network, f"its heads are {_listed(widths)} wide, and MLX quantizes groups of 32 or 64")


def _try_out(network: Any, make: MakeLayers, settings: CacheSettings) -> None:
    """Trace a prompt and two tokens after it; past the bound, if there is one."""
    layers = make()
    size = settings.max_context or 0
    try:
        for count in (size + 8, 1, 3):
            logits = network(mx.zeros((1, count), dtype=mx.int32), cache=layers)
    except (
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        KeyError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise _unsupported(network, f"it does not take this cache: {error}") from error
    if logits.shape[:2] != (1, 3):
        raise _unsupported(network, f"its logits come out as {logits.shape}")
    held = max((_held(leaf) for leaf in leaves_of(layers)), default=0)
    if size and held > size + 2:  # three tokens fed at once each see a whole window
        raise _unsupported(network, f"a layer still holds {held} tokens")


def _held(leaf: Any) -> int:
    keys = getattr(leaf, "keys", None)
    return int(keys.shape[-2]) if isinstance(keys, mx.array) else 0


def _unsupported(network: Any, reason: str) -> UnsupportedError:
    return UnsupportedError(
        f"{architecture_of(network)} cannot run with this KV cache: {reason}",
        hint="leave out --kv-bits, --kv-dtype and --max-context",
    )


def _listed(widths: Iterable[int]) -> str:
    return " and ".join(map(str, sorted(widths)))
