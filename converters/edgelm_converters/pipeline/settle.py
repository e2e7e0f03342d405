"""A checkpoint with its tensors as the architecture reads them, and a config that says whether the head is the embedding."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from edgelm.zoo.weights import head
from edgelm.zoo.weights.derive import Compute
from edgelm.zoo.weights.layout import arranged
from edgelm_converters.sources.checkpoint import LazyTensor, SourceCheckpoint


def settled(
    checkpoint: SourceCheckpoint, config: dict[str, Any]
) -> tuple[SourceCheckpoint, dict[str, Any], list[str]]:
    """Give the checkpoint the tensors that its normalised config wants; with that config, and notes for the receipt.

    See `edgelm.zoo.weights.layout` and `head`. Reads the head and the embedding only where both are there and the config
    ties them.
    """
    tensors = arranged(config, checkpoint.tensors, _derived, checkpoint.origin.files[0].parent)

    def are_equal(one: str, other: str) -> bool:
        first, second = tensors[one], tensors[other]
        same = first.shape == second.shape and first.dtype == second.dtype
        return same and head.are_equal(first.read(), second.read())

    tied = head.settle(config, tensors, are_equal, checkpoint.origin.files[0].parent)
    changed = dataclasses.replace(checkpoint, tensors=head.applied(tied, tensors))
    return changed, tied.config, [tied.note] if tied.note else []


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
