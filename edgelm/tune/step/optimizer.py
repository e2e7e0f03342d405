"""MLX's optimizers as pure functions: (parameters, state, gradients, rate) to new parameters and state.

The state is a tree of arrays and nothing else, so it can be saved, and a bad step can be undone by `mx.where`.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.optimizers as optim

from edgelm.tune.settings import OptimizerSettings

Tree = Any
"""Nested dictionaries and lists of arrays."""


class Optimizer:
    """An update rule of MLX.

    Args:
        settings: which, and its weight decay.
    """

    def __init__(self, settings: OptimizerSettings) -> None:
        self._optimizer = _build(settings)

    def start(self, parameters: Tree) -> Tree:
        """Return the state before the first update."""
        self._optimizer.init(parameters)
        return self._optimizer.state

    def update(self, parameters: Tree, state: Tree, gradients: Tree, rate: mx.array) -> tuple[Tree, Tree]:
        """Return parameters and state after one update; the arguments stay as they are."""
        self._optimizer.state = _copied(state)
        for part in _parts(self._optimizer):
            part.state["learning_rate"] = rate
        updated = self._optimizer.apply_gradients(gradients, parameters)
        return updated, self._optimizer.state


def _build(settings: OptimizerSettings) -> Any:
    decay = settings.weight_decay
    # The rate is given at every update; the constructors want one all the same.
    adamw = optim.AdamW(learning_rate=0.0, weight_decay=decay, bias_correction=True)
    if settings.optimizer == "adamw":
        return adamw
    if settings.optimizer == "lion":
        return optim.Lion(learning_rate=0.0, weight_decay=decay)
    if settings.optimizer == "adafactor":
        # A rate relative to the size of the weights would never move an adapter's zeros.
        return optim.Adafactor(
            learning_rate=0.0, weight_decay=decay, relative_step=False, scale_parameter=False
        )
    return optim.MultiOptimizer(
        [optim.Muon(learning_rate=0.0, weight_decay=decay), adamw], [_is_hidden_matrix]
    )


def _is_hidden_matrix(path: str, value: mx.array) -> bool:
    """Muon is for these only (Jordan 2024, kellerjordan.github.io/posts/muon)."""
    return value.ndim == 2 and "embed" not in path and "lm_head" not in path


def _parts(optimizer: Any) -> list[Any]:
    return list(getattr(optimizer, "optimizers", [optimizer]))


def _copied(tree: Tree) -> Tree:
    """New containers around the same arrays: MLX's optimizers write into theirs."""
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree
