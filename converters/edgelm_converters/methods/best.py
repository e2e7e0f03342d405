"""Quality "best": GPTQ layer by layer, on what the model quantized so far gives each module."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mlx.core as mx

    from edgelm.quant.layers.layerwise import LayerResult
    from edgelm.quant.layers.sequential import Sequential
    from edgelm_converters.estimate import StepEstimate
    from edgelm_converters.methods.calibration.layers import CalibrationRun
    from edgelm_converters.methods.quantized import Quantized
    from edgelm_converters.methods.task import QuantizationTask
    from edgelm_converters.targets.mlx.plan import OutputPlan


class SequentialGptq:
    """Puts every matrix through GPTQ on the quantized model's own inputs."""

    name = "best"
    description = "adds GPTQ layer by layer"
    needs_text = needs_hessians = True
    is_baseline = False
    outcome = ""

    def estimate(self, plan: OutputPlan, config: Mapping[str, Any], tokens: int) -> StepEstimate:
        """Price two streams through every layer, the Hessians and GPTQ."""
        from edgelm_converters.estimate import estimate

        return estimate(plan, config, tokens, sequential=self.needs_hessians)

    def run(self, task: QuantizationTask) -> Quantized:
        """Quantize on calibration text, going on from an earlier run of the same."""
        from edgelm_converters.methods.calibration.run import run_calibration

        return run_calibration(task, self)

    def quantize(self, run: CalibrationRun) -> None:
        """Quantize what lies before the layers, the layers, then the head.

        A tied embedding goes first, under its Hessian as a head: its weights matter as the final norm's outputs weigh
        them, which takes a pass of the source to learn.
        """
        from edgelm.quant.layers.layerwise import QUANTIZED, SOURCE
        from edgelm.quant.layers.sequential import Sequential

        walk = run.walk
        layers = Sequential(walk, run.settings, run.clock.at)
        head = walk.head
        is_tied = head in layers.outer and head in walk.embeddings
        untied = None if is_tied else head
        outer = run.quantize_outer(layers, head, partial(_quantize_tied, run, layers), without=untied)
        walk.begin(SOURCE)
        walk.begin(QUANTIZED, run.stand_ins(outer))
        run.quantize_layers(layers.layer, layers.replay)
        if untied is not None and untied in run.settings:
            run.quantize_head(untied, layers.head)


def _quantize_tied(
    run: CalibrationRun, layers: Sequential, result: LayerResult, path: str, weight: mx.array
) -> None:
    """Quantize an embedding that is the head too, under what the final norm gives the head: a pass of the source."""
    from edgelm.quant.layers.layerwise import SOURCE

    run.clock.at("what reaches the head")
    run.walk.begin(SOURCE)
    run.walk.carry([SOURCE])
    reaching = layers.head_hessian(SOURCE)
    assert reaching is not None  # the head is known by what reached it
    layers.tied_head(result, path, weight, reaching[1])
