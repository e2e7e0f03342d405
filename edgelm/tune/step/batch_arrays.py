"""What a step computes with of a batch: arrays of MLX in which the trained positions are gathered.

Trained positions come in few counts, filled up with some of weight 0, so that few shapes are compiled.

Shapes: B lanes, T positions, N trained positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from edgelm.tune.batches.batcher import TrainingBatch
from edgelm.tune.objectives.objective import IMITATED, TargetBatch

GRANULE = 128
"""Trained positions come in multiples of this."""
_SHAPES_PER_BATCH_SHAPE = 8
_COLUMN = "column."
"""What the names of a batch's columns begin with among its arrays."""


def arrays_of(batch: TrainingBatch, totals: Sequence[float] | None = None) -> dict[str, mx.array]:
    """Make what the computation reads of a batch: `[B, T]` inputs and segments, `[S]` labels, `[N]` the rest.

    `totals` are those of the whole step, for objectives that have them.
    """
    chosen = _chosen(np.maximum(batch.weights, batch.columns.get(IMITATED, batch.weights)))

    def gathered(values: np.ndarray[Any, Any]) -> Any:
        return values.reshape(-1)[chosen.positions]

    arrays = {
        "inputs": batch.inputs,
        "positions": chosen.positions,
        "targets": gathered(batch.targets),
        "weights": (gathered(batch.weights) * chosen.is_real).astype(np.float32),
    }
    arrays |= {
        f"{_COLUMN}{name}": gathered(values) * chosen.is_real for name, values in batch.columns.items()
    }
    if batch.sequences is not None:
        # How many places there are is a shape, which a compiled step has to know.
        arrays |= {
            "sequences": gathered(batch.sequences),
            "places": np.zeros(batch.sequence_count, np.float32),
        }
    if batch.shared is not None:
        shared = batch.shared
        arrays |= {"branches": shared.branches, "copies": shared.copies, "shifts": shared.shifts}
    given = {"segments": batch.segments, "labels": batch.labels, "present": batch.present}
    arrays |= {name: values for name, values in given.items() if values is not None}
    if totals is not None:
        arrays["totals"] = np.array(totals, np.float32)
    return {name: mx.array(value) for name, value in arrays.items()}


def targets_of(arrays: dict[str, mx.array]) -> TargetBatch:
    """Return what an objective sees of the arrays of a batch."""
    lanes, length = arrays["inputs"].shape
    columns = {
        name.removeprefix(_COLUMN): values for name, values in arrays.items() if name.startswith(_COLUMN)
    }
    numbers = arrays["positions"] // length
    if "sequences" in arrays:
        numbers, lanes = arrays["sequences"], arrays["places"].shape[0]
    return TargetBatch(
        arrays["weights"],
        numbers,
        lanes,
        arrays.get("labels"),
        columns,
        present=arrays.get("present"),
        totals=arrays.get("totals"),
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    positions: np.ndarray[Any, np.dtype[np.int32]]
    is_real: np.ndarray[Any, np.dtype[np.bool_]]


def _chosen(weights: np.ndarray[Any, np.dtype[np.float32]]) -> _Chosen:
    """The flat positions that are trained, filled up to one of a few counts."""
    trained = np.flatnonzero(weights)
    granule = GRANULE * -(-weights.size // (GRANULE * _SHAPES_PER_BATCH_SHAPE))
    count = min(max(granule, granule * -(-trained.size // granule)), max(weights.size, 1))
    positions = np.zeros(max(count, trained.size), dtype=np.int32)
    positions[: trained.size] = trained
    return _Chosen(positions, np.arange(positions.size) < trained.size)
