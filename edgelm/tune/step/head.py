"""The head of a network that is trained: logits of hidden states, and the trainable parameters they depend on.

    head = find_head(network)
    logits = head.logits(head.hidden(ids, cache))

The cut itself is `edgelm.zoo.body_and_head`. Shapes: B lanes, T positions, D hidden, V vocab.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten

from edgelm.zoo.body_and_head import Cut, cut
from edgelm.zoo.protocol import Network, layer_paths
from edgelm.zoo.tree import flat_trainable


@dataclass(frozen=True)
class TrainedHead:
    """A network whose logits can be computed for some positions only."""

    network: Network
    halves: Cut
    names: tuple[str, ...]
    """Trainable parameters outside the layers: what the head may depend on."""

    def hidden(self, inputs: mx.array, cache: Any = None) -> mx.array:
        """Turn `[B, T]` ids into hidden states `[B, T, D]`."""
        return self.halves.hidden(inputs, cache)

    def logits(self, hidden: mx.array) -> mx.array:
        """Turn hidden states `[B, T, D]` into logits `[B, T, V]`."""
        return self.halves.head(hidden)

    def parameters(self) -> list[mx.array]:
        """Return the arrays of `names`, as they are now."""
        flat = flat_trainable(self.network)
        return [flat[name] for name in self.names]

    def logits_with(self, hidden: mx.array, parameters: Sequence[mx.array]) -> mx.array:
        """Compute `logits` under other `parameters` than the network's, which are put back."""
        if not parameters:
            return self.logits(hidden)
        kept = self.parameters()
        self._update(parameters)
        logits = self.logits(hidden)
        self._update(kept)
        return logits

    def _update(self, parameters: Sequence[mx.array]) -> None:
        pairs = list(zip(self.names, parameters, strict=True))
        self.network.update(tree_unflatten(pairs), strict=False)


def find_head(network: Network, *, is_traced: bool = False) -> TrainedHead | None:
    """Find the head of `network`; None where its logits cannot be computed apart.

    Call it once the trainable parameters are what they will be. `is_traced` compares shapes only: the weights hold
    nothing, and nothing is evaluated.
    """
    halves = cut(network, is_loaded=not is_traced)
    if halves is None:
        return None
    inside = tuple(f"{path}." for path in layer_paths(network))
    names = tuple(name for name in flat_trainable(network) if not name.startswith(inside))
    copied = {".".join(halves.path[:depth]) for depth in range(len(halves.path))}
    if any(name.rpartition(".")[0] in copied for name in names):
        return None  # the halves would not follow what becomes of it
    return TrainedHead(network, halves, names)
