"""A checkpoint with its tensors as the architecture reads them, and a config that says whether the head is the embedding."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx

from edgelm.zoo.weights import head
from edgelm.zoo.weights.derive import Compute
from edgelm.zoo.weights.layout import arranged
from edgelm_converters.pipeline.origins import Origins, Placed
from edgelm_converters.pipeline.rows import follow_rows
from edgelm_converters.sources.checkpoint import LazyTensor, SourceCheckpoint


def settled(
    checkpoint: SourceCheckpoint, config: dict[str, Any]
) -> tuple[SourceCheckpoint, dict[str, Any], list[str]]:
    """Give the checkpoint the tensors that its normalised config wants; with that config, and notes for the receipt.

    See `edgelm.zoo.weights.layout` and `head`. Reads the head and the embedding only where both are there and the config
    ties them.
    """
    checkpoint = _arranged(checkpoint, config)
    tensors = checkpoint.tensors

    def are_equal(one: str, other: str) -> bool:
        first, second = tensors[one], tensors[other]
        same = first.shape == second.shape and first.dtype == second.dtype
        return same and head.are_equal(first.read(), second.read())

    tied = head.settle(config, tensors, are_equal, checkpoint.origin.files[0].parent)
    changed = dataclasses.replace(checkpoint, tensors=head.applied(tied, tensors))
    return changed, tied.config, [tied.note] if tied.note else []


def _arranged(checkpoint: SourceCheckpoint, config: dict[str, Any]) -> SourceCheckpoint:
    """Give the checkpoint the names that its architecture knows; packed modules keep their codes where they move by rows."""
    directory = checkpoint.origin.files[0].parent
    if "quantization" in config or not (checkpoint.quantization or checkpoint.requantized):
        tensors = arranged(config, checkpoint.tensors, _derived, directory)
        return dataclasses.replace(checkpoint, tensors=tensors)
    origins, placed = Origins(checkpoint.tensors, checkpoint.quantization, checkpoint.requantized), Placed()
    recipes = _Recipes({id(tensor): name for name, tensor in origins.dense.items()})
    made = arranged(config, origins.dense, recipes.derive, directory)
    rows = follow_rows(lambda arrays: recipes.followed(made, arrays), origins.dense, origins.followed)
    for name, tensor in made.items():
        if name in rows:
            origins.put(name, rows[name], None, placed)
        else:
            placed.tensors[name] = tensor
            origins.mark(name, recipes.sources(tensor), None, placed)
    return dataclasses.replace(
        checkpoint, tensors=placed.tensors, quantization=placed.packed, requantized=placed.requantized
    )


@dataclasses.dataclass
class _Recipes:
    """What was made of what, so that it can be made again of labels: which way it is made, real shapes decide."""

    names: dict[int, str]
    """The source's tensors by identity."""
    steps: dict[int, tuple[Sequence[LazyTensor], Compute]] = dataclasses.field(default_factory=dict)

    def derive(self, given: Sequence[LazyTensor], compute: Compute) -> LazyTensor:
        tensor = _derived(given, compute)
        self.steps[id(tensor)] = (given, compute)
        return tensor

    def sources(self, tensor: LazyTensor) -> list[str]:
        if id(tensor) in self.names:
            return [self.names[id(tensor)]]
        return [name for each in self.steps[id(tensor)][0] for name in self.sources(each)]

    def followed(self, made: Mapping[str, LazyTensor], arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
        found: dict[str, mx.array] = {}
        for name, tensor in made.items():
            try:
                found[name] = self._again(tensor, arrays)
            except (ValueError, RuntimeError):  # it goes by the width of rows, which labels do not have
                continue
        return found

    def _again(self, tensor: LazyTensor, arrays: Mapping[str, mx.array]) -> mx.array:
        if id(tensor) in self.names:
            return arrays[self.names[id(tensor)]]
        given, compute = self.steps[id(tensor)]
        return compute([self._again(each, arrays) for each in given])


def _derived(given: Sequence[LazyTensor], compute: Compute) -> LazyTensor:
    """A tensor that is computed from others when it is read."""
    placeholder = compute([mx.zeros(tensor.shape, tensor.dtype) for tensor in given])
    return LazyTensor(
        tuple(placeholder.shape),
        placeholder.dtype,
        lambda: compute([tensor.read() for tensor in given]),
        given[0].stored_as,
        is_lazy_array=all(tensor.is_lazy_array for tensor in given),
    )
