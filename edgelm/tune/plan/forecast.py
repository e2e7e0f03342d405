"""What is told of a run before it begins: its memory from shapes, its time from shapes and this machine's rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm import device, log
from edgelm.errors import UnsupportedError
from edgelm.model.described import describe_model
from edgelm.pricing.machine_rates import Rates, measure_rates
from edgelm.tune.batches.batcher import BatchPlanner
from edgelm.tune.data.dataset import Dataset
from edgelm.tune.plan.planner import TunePlan, TunePlanner
from edgelm.tune.position import Position
from edgelm.tune.request import TuneRequest
from edgelm.tune.reward_model.named import reward_models_bytes


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one run takes on this machine."""

    plan: TunePlan
    rates: Rates

    def seconds_left(
        self, position: Position, batches: BatchPlanner, accumulate: int, workers: int
    ) -> float | None:
        """Predict the seconds left, without validations; None where no steps are left, or their number is not known yet."""
        if position.total_steps is None or position.step >= position.total_steps:
            return None
        left = (position.total_steps - position.step) * accumulate
        positions = left * batches.positions_per_epoch // (batches.batches_per_epoch * workers)
        return self.plan.seconds(max(positions, 1), self.rates)


def forecast(request: TuneRequest, config: Mapping[str, Any], data: Dataset) -> Forecast | None:
    """Forecast the run that is asked for; None where the architecture cannot be priced.

    Raises:
        FitError: it takes more memory than is safe, with settings that would fit.
    """
    described = describe_model(str(request.model))
    machine = device.detect()
    beside = reward_models_bytes(request.settings.rollouts.reward, request.model, machine)
    planner = TunePlanner(dict(config), described.headers, request.model, machine, data, beside_bytes=beside)
    try:
        plan = planner.require_fit(request.settings)
    except UnsupportedError as error:
        log.logger.info("not priced: %s", error.message)
        return None
    rates = measure_rates()
    # What measuring took is not the run's.
    mx.clear_cache()
    mx.reset_peak_memory()
    return Forecast(plan, rates)
