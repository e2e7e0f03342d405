"""A network cut in two: the body, which gives hidden states, and the head, which makes logits of them.

Logits are the largest arrays there are (8,192 tokens of Gemma's vocabulary: 8 GB), and often only those of some
positions are needed, or of a few at a time. Final hidden states are a hundredth of that.

Every architecture of mlx-lm computes its logits from the output of one submodule, whatever it does to them
after (scaling, soft caps; tied, quantized or adapted heads). That submodule is found by trying: it is replaced by one
that returns hidden states given to it, and the cut is taken only if the logits are then the same. Both halves follow the
network when its parameters are updated or its modules exchanged below the body's own.

Shapes: B lanes, T positions, D hidden, V vocab.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

_WRAPPERS = ("language_model",)
_BODIES = ("model", "transformer", "backbone")
_PROBE = (1, 2, 3, 1, 2)
"""Token ids that every vocabulary has."""
_PROBED = slice(1, 4)
"""Positions whose logits are made on their own: they have to depend on nothing else."""


@dataclass(frozen=True)
class Cut:
    """The two halves of a network; both share its arrays, and neither changes it."""

    path: tuple[str, ...]
    """Where the body is. The modules above it are copied: an array that is directly in one of those is not followed."""
    _network: Any
    _recorder: _Recorder
    head: Head

    def hidden(self, ids: mx.array, cache: Any = None) -> mx.array:
        """Return final hidden states [B, T, D] of token ids [B, T], not yet evaluated."""
        # Its logits are built and never evaluated.
        _ = self._network(ids) if cache is None else self._network(ids, cache=cache)
        hidden: mx.array = self._recorder.take()
        return hidden


class Head:
    """What makes logits of final hidden states. Holds the arrays it needs and none of the body's."""

    def __init__(self, network: Any, given: _Given) -> None:
        self._network = network
        self._given = given

    def __call__(self, hidden: mx.array) -> mx.array:
        """Logits [B, T, V] of hidden states [B, T, D]."""
        logits: mx.array = self._given.answer(hidden, self._network)
        return logits


def cut(network: Any, *, is_loaded: bool = True) -> Cut | None:
    """Cut `network` in two; None if no submodule of it is a body.

    Args:
        is_loaded: False compares the shapes of the logits instead of the logits, so that no weight is read.
    """
    if not isinstance(network, nn.Module):
        return None
    was_training = network.training
    network.eval()
    try:
        for path in _candidates(network):
            found = _try_cut(network, path, is_loaded)
            if found is not None:
                return found
    finally:
        network.train(was_training)
    return None


def _candidates(network: Any) -> list[tuple[str, ...]]:
    """Paths that may be the body: `model`, `language_model.model` and the like, the shortest first."""
    paths: list[tuple[str, ...]] = []
    prefix: tuple[str, ...] = ()
    module = network
    while isinstance(module, nn.Module):
        paths += [(*prefix, name) for name in _BODIES if isinstance(module.get(name), nn.Module)]
        wrapped = next((name for name in _WRAPPERS if isinstance(module.get(name), nn.Module)), None)
        if wrapped is None:
            break
        prefix, module = (*prefix, wrapped), module[wrapped]
    return paths


def _try_cut(network: Any, path: tuple[str, ...], is_loaded: bool) -> Cut | None:
    body = _at(network, path)
    recorder = _Recorder(body)
    recorded = _replaced(network, path, recorder)
    ids = mx.array([_PROBE])
    expected = recorded(ids)
    hidden = recorder.take()
    if not _is_hidden(hidden, ids):
        return None
    given = _Given(body)
    head = Head(_replaced(network, path, given), given)
    return Cut(path, recorded, recorder, head) if _is_head(head, hidden, expected, is_loaded) else None


def _is_head(head: Head, hidden: mx.array, logits: mx.array, is_loaded: bool) -> bool:
    """Whether it makes these logits of these hidden states, position by position."""
    expected = logits[:, _PROBED]
    try:
        found = head(hidden[:, _PROBED])
    except (TypeError, ValueError, AttributeError, KeyError, RuntimeError):
        return False  # an architecture whose logits need more than hidden states
    return found.shape == expected.shape and (not is_loaded or _same(found, expected))


def _same(logits: mx.array, expected: mx.array) -> bool:
    """Tell whether two logits are the same up to rounding: a GPU may fuse the two graphs differently."""
    return bool(mx.allclose(logits, expected, rtol=1e-2, atol=1e-2).item())


def _is_hidden(value: Any, ids: mx.array) -> bool:
    return isinstance(value, mx.array) and value.ndim == 3 and value.shape[:2] == ids.shape


def _at(network: Any, path: Sequence[str]) -> Any:
    for name in path:
        network = network[name]
    return network


def _replaced(network: Any, path: Sequence[str], by: Any) -> Any:
    """A shallow copy of `network` with the module at `path` exchanged; everything else is shared."""
    if not path:
        return by
    made = copy.copy(network)
    made[path[0]] = _replaced(network[path[0]], path[1:], by)
    return made


class _Recorder(nn.Module):
    """Runs the body and remembers what came out. Has its attributes, since heads use its embedding.

    Its own fields stay out of the module's dictionary, where they would count as parameters.
    """

    def __init__(self, body: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        object.__setattr__(self, "_body", body)
        object.__setattr__(self, "_last", [])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        output = self._body(*arguments, **named)
        self._last[:] = [output]
        return output

    def take(self) -> Any:
        """Return what came out last, once."""
        return self._last.pop() if self._last else None


class _Given(nn.Module):
    """Returns the hidden states it was given. Keeps of the body only what the head asks for, once the body is gone."""

    def __init__(self, body: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        object.__setattr__(self, "_body", weakref.ref(body))
        object.__setattr__(self, "_asked", {})
        object.__setattr__(self, "_hidden", [])

    def __getattr__(self, name: str) -> Any:
        body = self._body()
        if body is not None:
            self._asked[name] = getattr(body, name)
        return self._asked[name]

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self._hidden[0]

    def answer(self, hidden: mx.array, network: Any) -> Any:
        self._hidden[:] = [hidden]
        try:
            return network(mx.zeros(hidden.shape[:2], dtype=mx.int32))
        finally:
            self._hidden.clear()
