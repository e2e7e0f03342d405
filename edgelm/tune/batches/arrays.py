"""Sequences in lanes, as arrays.

Shapes: B lanes, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgelm.tune.data.rows import Example
from edgelm.tune.objectives.objective import IMITATED, MARGIN, REFERENCE

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class ReferenceValues:
    """Log-probabilities of the targets of a dataset under its reference model, in nats."""

    answers: Sequence[npt.NDArray[np.float32]]
    """[targets] of every sequence; a pair's chosen one is number 2 · row, its rejected one the next."""
    mismatched: Sequence[npt.NDArray[np.float32]] = ()
    """[targets] of each judged row's prompt with the answer to another."""


@dataclass(frozen=True, slots=True)
class PlacedSequence:
    """A sequence in its lane."""

    example: Example
    number: int
    """In the dataset, as `ReferenceValues` counts."""
    place: int
    """In the batch."""
    reference: npt.NDArray[np.float32] | None = None
    """[targets]."""
    is_imitated: bool = False
    """Whether all its targets are, its prompt's too."""
    margin: float = 0.0
    """By how much it is to score above the rejected answer."""
    shared: int | None = None
    """How many of its first positions it shares with the sequence beside it; None if it is one that shares nothing."""
    is_second: bool = False
    """Whether the sequence before it has those positions."""


@dataclass(frozen=True)
class LaidOut:
    """Arrays [B, T], but `lengths` [B]; see `TrainingBatch`."""

    inputs: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    segments: npt.NDArray[np.int32]
    sequences: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]
    branches: npt.NDArray[np.int32]
    copies: npt.NDArray[np.int32]
    shifts: npt.NDArray[np.int32]
    columns: dict[str, npt.NDArray[np.float32]]


def lay_out(
    lanes: Sequence[Sequence[PlacedSequence]], length: int, columns: Sequence[str] = (), copied: int = 0
) -> LaidOut:
    """Put the sequences of each lane behind each other.

    The named columns are there also where no sequence is; `copied` is how many shared positions a lane has room for.
    """
    B, T = len(lanes), length
    inputs, targets, segments, sequences, branches = (np.zeros((B, T), np.int32) for _ in range(5))
    copies, shifts = (np.zeros((B, copied), np.int32) for _ in range(2))
    weights = np.zeros((B, T), np.float32)
    lengths = np.zeros(B, np.int32)
    filled = {name: np.zeros((B, T), np.float32) for name in columns}
    for lane, placed_sequences in enumerate(lanes):
        number = used = first = 0
        for placed in placed_sequences:
            example, shared = placed.example, placed.shared or 0
            skipped = shared if placed.is_second else 0
            begin, number = int(lengths[lane]), number + (not placed.is_second)
            here = slice(begin, begin + example.size - skipped)
            inputs[lane, here] = example.tokens[skipped:-1]
            targets[lane, here] = example.tokens[skipped + 1 :]
            weights[lane, here] = example.trained[skipped + 1 :]
            segments[lane, here] = number
            sequences[lane, here] = placed.place
            lengths[lane] = here.stop
            if placed.is_second:
                branches[lane, here] = 2
                copies[lane, used : used + shared] = np.arange(first, first + shared)
                shifts[lane, used : used + shared] = begin - first - shared
                used += shared
            elif placed.shared is not None:
                branches[lane, begin + shared : here.stop] = 1
                first = begin
            if placed.reference is not None:
                filled[REFERENCE][lane, here][weights[lane, here] > 0] = placed.reference
            if placed.margin:
                filled[MARGIN][lane, here] = placed.margin
            if placed.is_imitated:
                filled[IMITATED][lane, here] = 1
    return LaidOut(inputs, targets, weights, segments, sequences, lengths, branches, copies, shifts, filled)
