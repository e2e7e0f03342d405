"""The source's weights under the network's names, as often as they are asked for.

What `sanitize` computes can be read once from one set of inputs; a second reading starts a new set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx

from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.weights.packed import unpacked

Inputs = Callable[[], tuple[Any, Mapping[str, LazyTensor], Mapping[str, Any]]]
"""Gives a fresh network, its lazy tensors, and the settings of those that are packed."""


class SourceWeights:
    """Reads unpacked parameters of the source.

    Args:
        inputs: opens the source anew.
        dtypes: what a tensor is cast to before anything is computed from it: what will be stored.
    """

    def __init__(self, inputs: Inputs, dtypes: Mapping[str, mx.Dtype]) -> None:
        self._inputs, self._dtypes = inputs, dtypes
        self._taken: set[str] = set()
        self.network = self._open()

    def __call__(self, name: str) -> mx.array:
        """The parameter `name`, evaluated."""
        if name in self._taken:
            self._open()
        self._taken.add(name)
        value = self._tensors[name].read()
        dtype = self._dtypes.get(name, value.dtype)
        if mx.issubdtype(value.dtype, mx.floating) and mx.issubdtype(dtype, mx.floating):
            value = value.astype(dtype)
        mx.eval(value)
        return value

    def _open(self) -> Any:
        network, tensors, packed = self._inputs()
        self._tensors = unpacked(tensors, packed)
        self._taken.clear()
        return network
