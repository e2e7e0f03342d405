"""Quality "fast": scales and biases searched for the smallest squared error of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgelm_converters.methods.quantized import Quantized
    from edgelm_converters.methods.task import QuantizationTask
    from edgelm_converters.targets.mlx.plan import OutputPlan


class ScaleSearch:
    """Searches the scales of every tensor by its weights alone."""

    name = "fast"
    description = "searches scales"
    needs_text = needs_hessians = is_baseline = False
    outcome = "search"

    def estimate(self, plan: OutputPlan, config: Mapping[str, Any], tokens: int) -> None:
        """Return None: the search runs while weights are written."""

    def run(self, task: QuantizationTask) -> Quantized:
        """Have every module searched while it is written."""
        from edgelm_converters.methods.quantized import Quantized
        from edgelm_converters.methods.quantizers import search_grids, search_scales

        task.announce_loss()
        return Quantized(task.plan, search_grids if task.was_quantized else search_scales)
