"""A network taken apart into what makes hidden states and what makes logits of them.

    split = split_network(network)
    logits = split.logits(split.hidden(ids, cache))

Both halves run the architecture's own code: its `__call__` with the trunk replaced, once by a recorder and once by
what was recorded. So soft-caps, logit scales and tied, quantized or adapted heads are what they always are. An
architecture for which that is not the same as calling it is left whole, which costs memory.

Shapes: B lanes, T positions, D hidden, V vocab.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm.quant.tree import flat_trainable

_TRUNKS = ("model", "transformer", "backbone")
_PROBE = (1, 5, 3, 2)
"""Ids that any vocabulary has."""


@dataclass(frozen=True)
class SplitNetwork:
    """A network whose logits can be computed for some positions only."""

    owner: Any
    """The module whose `__call__` ends in the head."""
    trunk: str
    """The attribute of `owner` that makes hidden states."""
    head_names: tuple[str, ...]
    """Trainable parameters of `owner` outside the layers: what the head may depend on."""

    def hidden(self, inputs: mx.array, cache: Any = None) -> mx.array:
        """`[B, T]` ids to hidden states `[B, T, D]`."""
        recorder = _Recorder(getattr(self.owner, self.trunk))
        # The logits are built here and never evaluated.
        self._with(recorder)(inputs, cache=cache)
        if not isinstance(recorder.output, mx.array):
            raise TypeError(f"the trunk returned {type(recorder.output).__name__}, expected an array")
        return recorder.output

    def logits(self, hidden: mx.array) -> mx.array:
        """`[B, T, D]` to `[B, T, V]`."""
        given = _Given(getattr(self.owner, self.trunk), hidden)
        logits: mx.array = self._with(given)(mx.zeros(hidden.shape[:2], dtype=mx.int32))
        return logits

    def head_parameters(self) -> list[mx.array]:
        """The arrays of `head_names`, as they are now."""
        flat = flat_trainable(self.owner)
        return [flat[name] for name in self.head_names]

    def _with(self, trunk: Any) -> Any:
        shell = copy.copy(self.owner)
        setattr(shell, self.trunk, trunk)
        return shell


class _Stand:
    """In place of a trunk: its attributes (a tied embedding, say) are still there."""

    def __init__(self, trunk: Any) -> None:
        self._trunk = trunk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trunk, name)


class _Recorder(_Stand):
    output: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.output = self._trunk(*args, **kwargs)
        return self.output


class _Given(_Stand):
    def __init__(self, trunk: Any, hidden: mx.array) -> None:
        super().__init__(trunk)
        self._hidden = hidden

    def __call__(self, *_: Any, **__: Any) -> mx.array:
        return self._hidden


def split_network(network: Any, *, is_traced: bool = False) -> SplitNetwork | None:
    """`network` taken apart, or None where its parts do not give what the whole gives.

    Call it once the trainable parameters are what they will be: it notes those of the head. `is_traced` compares
    shapes only: the weights hold nothing, and nothing is evaluated.
    """
    was_training = network.training
    network.eval()
    try:
        ids = mx.array([_PROBE])
        whole = network(ids)
        for owner in _owners(network):
            for trunk in _TRUNKS:
                split = _try(owner, trunk, network, ids, whole, is_traced=is_traced)
                if split is not None:
                    return split
    finally:
        network.train(was_training)
    return None


def _owners(network: Any) -> list[Any]:
    inner = network.get("language_model")
    return [network] if inner is None else [network, inner]


def _try(
    owner: Any, trunk: str, network: Any, ids: mx.array, whole: mx.array, *, is_traced: bool
) -> SplitNetwork | None:
    if owner.get(trunk) is None:
        return None
    split = SplitNetwork(owner, trunk, _head_names(owner, network))
    try:
        hidden = split.hidden(ids)
        logits = split.logits(hidden[:, 1:3])
        expected = whole[:, 1:3]
        same = logits.shape == expected.shape
        if same and not is_traced:
            same = bool(mx.allclose(logits, expected, rtol=1e-4, atol=1e-4).item())
    except (TypeError, ValueError, AttributeError, KeyError, RuntimeError):
        return None  # an architecture that takes more than ids, or whose trunk returns more than an array
    return split if same and hidden.shape[-1] != whole.shape[-1] else None


def _head_names(owner: Any, network: Any) -> tuple[str, ...]:
    inside = {id(value) for layer in network.layers for _, value in flat_trainable(layer).items()}
    return tuple(name for name, value in flat_trainable(owner).items() if id(value) not in inside)
