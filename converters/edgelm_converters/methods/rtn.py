"""Quality "rtn": every weight rounded to the nearest code, as mlx-lm does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgelm_converters.methods.quantized import Quantized
    from edgelm_converters.methods.task import QuantizationTask
    from edgelm_converters.targets.mlx.plan import OutputPlan


class RoundToNearest:
    """Rounds to nearest."""

    name = "rtn"
    description = "rounds to nearest"
    needs_text = needs_hessians = False
    is_baseline = True
    outcome = "rounded"

    def estimate(self, plan: OutputPlan, config: Mapping[str, Any], tokens: int) -> None:
        """Return None: rounding costs no more than writing."""

    def run(self, task: QuantizationTask) -> Quantized:
        """Have every module rounded while it is written."""
        from edgelm_converters.methods.quantized import Quantized
        from edgelm_converters.methods.quantizers import round_to_nearest

        task.announce_loss()
        return Quantized(task.plan, round_to_nearest)
