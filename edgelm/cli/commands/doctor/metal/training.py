"""What a training step takes by its shape, its compilation apart, and whether training goes on for a while.

With the display on, macOS's watchdog may end it (mlx #3267): that is a finding here, not a failure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from edgelm.machine.gpu.watchdog import is_watchdog
from edgelm.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from edgelm.tune.step.stepper import Stepper

SHAPES = ((1, 128), (1, 512), (4, 512), (1, 2048))
_RATE = 1e-5
_REPEATS = 3


@dataclass(frozen=True, slots=True)
class ShapeCost:
    """One shape of batch."""

    lanes: int
    length: int
    first_s: float
    """The step that compiles."""
    step_s: float
    """The fastest of those after it."""
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Endurance:
    """Training without a break."""

    asked_s: float
    elapsed_s: float
    steps: int
    tokens: int
    stopped_by: str | None
    """What the watchdog said, if it ended it."""


@dataclass(frozen=True, slots=True)
class Training:
    """What steps of each shape cost, and how training went on for a while."""

    shapes: tuple[ShapeCost, ...]
    endurance: Endurance

    def table(self) -> list[list[str]]:
        """Return a header, a row for each shape, and one for the long run."""
        rows = [
            [
                f"{found.lanes} x {found.length}", format_seconds(found.first_s), format_seconds(found.step_s),
                f"{found.lanes * found.length / found.step_s:,.0f}", format_bytes(found.peak_bytes),
            ]
            for found in self.shapes
        ]  # fmt: skip
        run = self.endurance
        end = f"ended by the watchdog: {run.stopped_by}" if run.stopped_by else "to the end"
        last = [
            f"{run.elapsed_s:.0f} of {run.asked_s:.0f} s", "", "",
            f"{run.tokens / max(run.elapsed_s, 1e-9):,.0f}", f"{run.steps} steps, {end}",
        ]  # fmt: skip
        return [["shape", "first step", "a step", "token/s", "peak"], *rows, last]


def measure_training(directory: Path, seconds: float, shapes: Sequence[tuple[int, int]] = SHAPES) -> Training:
    """Train an adapter on the model in `directory`, on nothing in particular; nothing is kept."""
    from edgelm.model.load import load
    from edgelm.tune.settings import TuneSettings
    from edgelm.tune.step.methods import make_trainable
    from edgelm.tune.step.optimizer import Optimizer
    from edgelm.tune.step.stepper import Stepper

    settings = TuneSettings()
    loaded = load(directory, keep_range=True)
    make_trainable(loaded.network, settings.method)
    stepper = Stepper(loaded.network, Optimizer(settings.optimizer), chunk=settings.loop.loss_chunk)
    most = loaded.context_length or max(length for _, length in shapes)
    fitting = [(lanes, min(length, most)) for lanes, length in shapes]
    costs = tuple(measure_shape(stepper, lanes, length) for lanes, length in dict.fromkeys(fitting))
    return Training(costs, train_for(stepper, fitting[-1], seconds))


def measure_shape(stepper: Stepper, lanes: int, length: int) -> ShapeCost:
    """Step a batch of that shape a few times."""
    mx.clear_cache()
    mx.reset_peak_memory()
    first, *rest = [_step(stepper, lanes, length) for _ in range(1 + _REPEATS)]
    return ShapeCost(lanes, length, first, min(rest), mx.get_peak_memory())


def train_for(
    stepper: Stepper, shape: tuple[int, int], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> Endurance:
    """Step until `seconds` have passed, or the watchdog ends it.

    Raises:
        RuntimeError: MLX failed for another reason.
    """
    began, steps, stopped_by = clock(), 0, None
    while clock() - began < seconds:
        try:
            _step(stepper, *shape)
        except RuntimeError as error:
            if not is_watchdog(str(error)):
                raise
            stopped_by = str(error)
            break
        steps += 1
    return Endurance(seconds, clock() - began, steps, steps * shape[0] * shape[1], stopped_by)


def _step(stepper: Stepper, lanes: int, length: int) -> float:
    from edgelm.tune.plan.trace.step import BatchShape, batch_of

    began = time.perf_counter()
    stepper.update(stepper.gradients(batch_of(BatchShape(lanes, length))), _RATE)
    return time.perf_counter() - began
