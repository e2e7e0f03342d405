"""A checkpoint whose config and tensors agree on whether the head is the embedding."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgelm.model.weights import head
from edgelm_converters.checkpoint import Checkpoint


def settled(checkpoint: Checkpoint, config: dict[str, Any]) -> tuple[Checkpoint, dict[str, Any], list[str]]:
    """The checkpoint with the tensors that its normalised config wants, that config, and what the receipt says of it.

    See `edgelm.model.weights.head`. Reads the head and the embedding only where both are there and the config ties them.
    """
    tensors = checkpoint.tensors

    def are_equal(one: str, other: str) -> bool:
        first, second = tensors[one], tensors[other]
        same = first.shape == second.shape and first.dtype == second.dtype
        return same and head.are_equal(first.read(), second.read())

    found = head.settle(config, tensors, are_equal, checkpoint.origin.files[0].parent)
    changed = dataclasses.replace(checkpoint, tensors=head.applied(found, tensors))
    return changed, found.config, [found.note] if found.note else []
