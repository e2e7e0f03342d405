"""What can be done with the cache of one layer: cut back, copied in rows, frozen as a whole.

A *leaf* is a simple cache of mlx-lm, those inside a `CacheList` included. Full attention *grows*: it has a row
for every token and can be cut anywhere. Sliding windows that have wrapped and recurrent states cannot go back
to an earlier token, so a copy of their state is taken where one may be wanted. Knows nothing about tokens.

Shapes: B batch (1), H key heads, T tokens, D head dim.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

MakeLayers = Callable[[], list[Any]]
"""Makes a network's fresh caches, one for each layer."""
Rows = tuple[mx.array, ...]
"""A growing leaf's arrays for some tokens, each [B, H, T, ·]: keys and values, or their packed parts."""
State = Any
"""A leaf's whole state: nested tuples and lists of arrays and plain numbers."""


def leaves_of(layers: Iterable[Any]) -> Iterator[Any]:
    """Yield the leaves of a network's caches, in order."""
    for layer in layers:
        if hasattr(layer, "caches"):
            yield from leaves_of(layer.caches)
        elif layer is not None:
            yield layer


def grows(leaf: Any) -> bool:
    """Return whether it has a row for every token, so that it can be cut back to any length at any time."""
    from mlx_lm.models.cache import KVCache, QuantizedKVCache

    return isinstance(leaf, (KVCache, QuantizedKVCache))


def can_trim(leaf: Any, count: int) -> bool:
    """Return whether it can be cut back by `count` tokens as it is now."""
    from mlx_lm.models.cache import ChunkedKVCache, RotatingKVCache

    if count == 0 or grows(leaf):
        return True
    if isinstance(leaf, RotatingKVCache):
        return bool(leaf.is_trimmable())
    # What slid out of a chunk's front is lost, and an earlier token may need it.
    return isinstance(leaf, ChunkedKVCache) and leaf.start_position == 0


def can_drop(leaf: Any) -> bool:
    """Return whether `drop` works on it."""
    from mlx_lm.models.cache import ChunkedKVCache, RotatingKVCache

    return grows(leaf) or isinstance(leaf, (RotatingKVCache, ChunkedKVCache))


def drop(leaf: Any, count: int) -> None:
    """Take back the last `count` tokens of a call that fed more than so many, right after it."""
    from mlx_lm.models.cache import RotatingKVCache

    if isinstance(leaf, RotatingKVCache):
        # A call with several tokens leaves them in order behind a whole window: what is cut is at the end.
        leaf.keys, leaf.values = leaf.keys[..., :-count, :], leaf.values[..., :-count, :]
        leaf._idx -= count
        leaf.offset -= count
    else:
        leaf.trim(count)


def copy_rows(leaf: Any, start: int, end: int) -> Rows:
    """Copy rows `start` to `end` of a growing leaf into memory of their own (lazily)."""
    arrays = arrays_of((leaf.keys, leaf.values))
    return tuple(mx.contiguous(array[..., start:end, :]) for array in arrays)


def set_rows(leaf: Any, parts: Sequence[Rows]) -> None:
    """Make a fresh growing leaf hold `parts`, one after another."""
    joined = [mx.concatenate(list(column), axis=-2) for column in zip(*parts, strict=True)]
    half = len(joined) // 2
    is_packed = half > 1
    leaf.keys = tuple(joined[:half]) if is_packed else joined[0]
    leaf.values = tuple(joined[half:]) if is_packed else joined[1]
    leaf.offset = joined[0].shape[-2]


def cut_rows(rows: Rows, start: int, end: int) -> Rows:
    """Copy rows `start` to `end` of `rows` into memory of their own (lazily)."""
    return tuple(mx.contiguous(array[..., start:end, :]) for array in rows)


def freeze(leaf: Any) -> State:
    """Copy a leaf's state as it is now. MLX shares the memory until one side is written to."""
    return copy.deepcopy(leaf.state)


def thaw(leaf: Any, state: State) -> None:
    """Make `leaf` what it was when `state` was frozen; the state may be used again."""
    leaf.state = copy.deepcopy(state)


def arrays_of(tree: Any) -> list[mx.array]:
    """List the arrays in nested tuples and lists."""
    flat: list[tuple[str, Any]] = tree_flatten(tree)  # type: ignore[assignment]
    return [value for _, value in flat if isinstance(value, mx.array)]


def size_bytes(tree: Any) -> int:
    """Return the bytes of the arrays in nested tuples and lists."""
    return sum(array.nbytes for array in arrays_of(tree))
