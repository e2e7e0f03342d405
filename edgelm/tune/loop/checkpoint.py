"""Checkpoints: everything a run needs to go on as if nothing had happened.

One directory a checkpoint, whole or not there: `arrays.safetensors` (weights under `weights.`, optimizer under `optimizer.`)
and `state.json` (`Position`). Random numbers need no state: those of a step follow from the seed and the step. Old ones are
removed only once a newer one is whole.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.adapters.files import save_tensors
from edgelm.atomic import atomic_directory, disk_errors
from edgelm.errors import FormatError, NotFoundError
from edgelm.json_files import read_json
from edgelm.tune.position import Position
from edgelm.zoo.tree import flat_arrays
from edgelm.zoo.weights.safetensors_header import read_header

_ARRAYS, _STATE = "arrays.safetensors", "state.json"
_VERSION = 2
"""The version also of what a position means: it names batches by their place, so it changes with how rows are laid out."""


@dataclass(frozen=True)
class TrainingCheckpoint:
    """A checkpoint that was read back."""

    position: Position
    parameters: dict[str, mx.array]
    """By path."""
    optimizer: dict[str, mx.array]


def save_checkpoint(parent: Path, position: Position, parameters: Any, optimizer: Any, *, keep: int) -> Path:
    """Write one under `parent`, then remove all but the newest `keep`; returns its directory.

    Raises:
        OutputError: the disk refuses; what was there before is untouched.
    """
    target = parent / f"step-{position.step:08d}"
    if target.exists():  # the same step again, after a resume: the same content
        return target
    arrays = {f"weights.{name}": value for name, value in flat_arrays(parameters).items()}
    arrays |= {f"optimizer.{name}": value for name, value in flat_arrays(optimizer).items()}
    with atomic_directory(target) as directory:
        save_tensors(directory / _ARRAYS, arrays)
        with disk_errors(directory):
            state = {"version": _VERSION, **dataclasses.asdict(position)}
            (directory / _STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
    for old in checkpoints(parent)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def checkpoints(parent: Path) -> list[Path]:
    """List all whole checkpoints, oldest first."""
    return sorted(path for path in parent.glob("step-*") if path.is_dir())


def best_step_of(directory: Path) -> int | None:
    """Read the step of the best validation that a checkpoint knows of."""
    step: int | None = read_json(directory / _STATE).get("best_step")
    return step


def load_checkpoint(directory: Path) -> TrainingCheckpoint:
    """Read one back.

    Raises:
        NotFoundError: a file is missing.
        FormatError: one is broken, or of a later edgelm.
    """
    for name in (_ARRAYS, _STATE):
        if not (directory / name).exists():
            raise NotFoundError(f"{directory / name} does not exist, so {directory} is no checkpoint")
    read_header(directory / _ARRAYS)
    state = dict(read_json(directory / _STATE))
    if state.pop("version", None) != _VERSION:
        raise FormatError(
            f"{directory / _STATE} is not of version {_VERSION}",
            hint="go on with the edgelm that began this run",
        )
    known = {item.name for item in dataclasses.fields(Position)}
    loaded: Any = mx.load(str(directory / _ARRAYS))
    return TrainingCheckpoint(
        Position(**{key: value for key, value in state.items() if key in known}),
        _part(loaded, "weights."),
        _part(loaded, "optimizer."),
    )


def _part(arrays: dict[str, mx.array], prefix: str) -> dict[str, mx.array]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
