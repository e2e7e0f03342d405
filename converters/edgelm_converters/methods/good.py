"""Quality "good": scales searched for the smallest error of each layer's outputs on calibration text."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgelm_converters.estimate import StepEstimate
    from edgelm_converters.methods.calibration.layers import CalibrationRun
    from edgelm_converters.methods.quantized import Quantized
    from edgelm_converters.methods.task import QuantizationTask
    from edgelm_converters.targets.mlx.plan import OutputPlan


class WeightedSearch:
    """Searches every weight under what the source's text does, in one pass."""

    name = "good"
    description = "searches scales weighed by calibration text"
    needs_text = True
    needs_hessians = is_baseline = False
    outcome = ""

    def estimate(self, plan: OutputPlan, config: Mapping[str, Any], tokens: int) -> StepEstimate:
        """Price one pass of the source and the search."""
        from edgelm_converters.estimate import estimate

        return estimate(plan, config, tokens, sequential=self.needs_hessians)

    def run(self, task: QuantizationTask) -> Quantized:
        """Quantize on calibration text, going on from an earlier run of the same."""
        from edgelm_converters.methods.calibration.run import run_calibration

        return run_calibration(task, self)

    def quantize(self, run: CalibrationRun) -> None:
        """Take the source past every layer; the head comes last, when it is known what reaches it."""
        from edgelm.quant.layers.layerwise import SOURCE
        from edgelm.quant.layers.weighted import Weighted

        walk = run.walk
        layers = Weighted(walk, run.settings, run.clock.at)
        walk.begin(SOURCE)
        run.quantize_layers(layers.layer, lambda index, _: walk.pass_by(index, [SOURCE]))
        head, importance = layers.head_importance(SOURCE)
        run.quantize_outer(layers, head, partial(layers.search, importance=importance, tokens=layers.tokens))
