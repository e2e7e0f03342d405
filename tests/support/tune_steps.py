"""What training steps take: measured, to hold predictions against."""

from __future__ import annotations

import gc
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm.tune.objectives.settings import make_objective
from edgelm.tune.plan.trace.step import BatchShape, batch_of
from edgelm.tune.settings import TuneSettings
from edgelm.tune.step.methods import make_trainable
from edgelm.tune.step.optimizer import Optimizer
from edgelm.tune.step.recompute import recomputed
from edgelm.tune.step.shared_prompt import row_caches
from edgelm.tune.step.stepper import Stepper


@dataclass(frozen=True)
class MeasuredStep:
    """A step of a network that was stepped before."""

    peak_bytes: int
    working_bytes: int
    """Beside what was there before it."""
    step_s: float


def measure_step(
    network: Any, config: dict[str, Any], settings: TuneSettings, shape: BatchShape, repeats: int = 3
) -> MeasuredStep:
    """Make an evaluated `network` trainable and step it; the fastest and the last memory count."""
    make_trainable(network, settings.method)
    loop = settings.loop
    times = []
    with recomputed(network.layers) if loop.grad_checkpoint else nullcontext():
        objective = make_objective(settings.objective)
        stepper = Stepper(
            network,
            Optimizer(settings.optimizer),
            objective,
            chunk=loop.loss_chunk,
            compiled=loop.compiled,
            make_caches=lambda *placing: row_caches(network, config, *placing),
        )
        batch = batch_of(shape, objective)
        totals = (1.0, 1.0) if objective.has_totals else None
        for _ in range(repeats):
            gc.collect()
            mx.clear_cache()
            before = mx.get_active_memory()
            mx.reset_peak_memory()
            began = time.perf_counter()
            stepper.update(stepper.gradients(batch, totals), 1e-4)
            times.append(time.perf_counter() - began)
    peak = mx.get_peak_memory()
    return MeasuredStep(peak, peak - before, min(times))
