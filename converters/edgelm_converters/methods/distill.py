"""Distillation as the last part of a calibrated conversion: priced, then the student is built, trained, and what it
learned kept.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten

from edgelm import device as devices
from edgelm.errors import FitError
from edgelm.pricing.machine_rates import measure_rates
from edgelm.progress import OnProgress, Progress
from edgelm.quant.distillation.student import make_student
from edgelm.quant.distillation.train import HELD_PART, Row, distill
from edgelm.quant.layers.layerwise import SOURCE, LayerResult
from edgelm.quant.matrix import formats
from edgelm.quant.streams.walk import Walk
from edgelm.units import format_bytes
from edgelm_converters.estimate import StepEstimate
from edgelm_converters.methods.layer_files import DISTILLED, LayerFiles
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.weights.source_weights import Inputs, SourceWeights
from edgelm_converters.workload import Workload

TASK = "Distilling"
RATE = 2e-4
"""Adam's step in units of a parameter's mean magnitude. All parameters step at once: 2e-3 took SmolLM2 at 3 bits from
0.6 nats to 2 in one step."""
_TRAINED_BYTES = 24
"""Float32 value, start, move, gradient and Adam's two moments of a scale or a bias."""
_UNPACKED_BYTES = 16
"""Read and written to make a weight of its code."""


def estimate_distilling(
    plan: OutputPlan, config: Mapping[str, Any], tokens: int, row_tokens: int, steps: int
) -> StepEstimate:
    """Price `steps` of training on one row each, of a text of `tokens`.

    Raises:
        FitError: the student does not fit in memory.
    """
    needed = _student_bytes(plan)
    free = devices.memory_budget_bytes(devices.detect())
    if needed > free:
        raise FitError(
            f"distilling takes {format_bytes(needed)} of memory (a byte a weight, and what is trained), and"
            f" {format_bytes(free)} is safe to use here",
            hint="leave --distill out: --quality best needs a layer at a time",
        )
    work = Workload.of(plan, config)
    return StepEstimate(_distilling_s(work, tokens, row_tokens, steps), needed, 0, 0, "distilling")


def _student_bytes(plan: OutputPlan) -> int:
    quantized = {path: math.prod(plan.inputs[f"{path}.weight"].shape) for path in plan.quantize}
    groups = sum(count / plan.quantize[path]["group_size"] for path, count in quantized.items())
    widest = max(quantized.values(), default=0)
    rest = sum(
        4 * math.prod(tensor.shape)
        for name, tensor in plan.inputs.items()
        if name.removesuffix(".weight") not in quantized
    )
    return int(sum(quantized.values()) + 2 * groups * _TRAINED_BYTES + 3 * 4 * widest + rest)


def _distilling_s(work: Workload, tokens: int, row_tokens: int, steps: int) -> float:
    trained = steps * row_tokens
    judged = 2 * max(1, tokens // row_tokens // HELD_PART) * row_tokens
    outer = work.vocabulary * work.hidden
    # A layer runs twice on its way forwards and back, then come the gradients of what it got and of its weights;
    # the head runs once, and the teacher's head as well.
    flops = 2 * (4 * trained + judged) * work.weights * work.used + 2 * (4 * trained + 2 * judged) * outer
    exponentials = (3 * trained + judged) * work.layers * work.exponentials(row_tokens)
    exponentials += (4 * trained + 2 * judged) * work.vocabulary
    # Weights are made of codes as often as a layer runs, and their gradients summed by groups.
    moved = (4 * steps + judged / row_tokens) * (work.weights + outer) * _UNPACKED_BYTES
    return measure_rates().seconds(flops=flops, moved_bytes=moved, exponentials=exponentials)


def distill_layers(
    walk: Walk, inputs: Inputs, plan: OutputPlan, files: LayerFiles, steps: int, on_progress: OnProgress
) -> dict[str, Any]:
    """Train on the calibration rows, whose hidden states after the last layer `walk` still keeps, into `files`.

    What an earlier run has trained is kept as it is: the parts now stand for its result, not for its start.

    Returns:
        Steps, and the KL before and after on rows that were not trained on, for the receipt.
    """
    notes = files.notes(DISTILLED)
    if notes is not None:
        return notes
    rows: list[Row] = [
        (ids[row : row + 1], functools.partial(walk.logits, SOURCE, batch, row))
        for batch, ids in enumerate(walk.batches)
        for row in range(ids.shape[0])
    ]
    result = distill(
        _student(inputs, plan, files), rows, functools.partial(_stored_dtype, plan), steps=steps, rate=RATE,
        on_step=lambda step, loss: on_progress(Progress(TASK, step, steps, "steps", f"KL {loss:.4f}")),
    )  # fmt: skip
    notes = {"steps": steps, "kl_before": result.kl_before, "kl_after": result.kl_after}
    files.put(DISTILLED, LayerResult(result.parameters, []), notes)
    return notes


def _student(inputs: Inputs, plan: OutputPlan, files: LayerFiles) -> Any:
    """A network of the finished layers, with the source's other parameters in float32."""
    weights = SourceWeights(inputs, plan.dtypes)
    network = weights.network
    network.eval()
    parameters: list[tuple[str, mx.array]] = []
    for name in plan.inputs:
        path = name.removesuffix(".weight")
        if path in plan.quantize and name.endswith(".weight"):
            # Of the right shape, lazy, and replaced by codes; dense only where no form is known.
            parameters.append((name, formats.dequantized(files.packed(path), plan.quantize[path])))
        else:
            value = weights(name)
            is_float = mx.issubdtype(value.dtype, mx.floating)
            parameters.append((name, value.astype(mx.float32) if is_float else value))
    network.update(tree_unflatten(parameters))
    parameters.clear()
    make_student(network, files.packed, plan.quantize)
    return network


def _stored_dtype(plan: OutputPlan, name: str) -> mx.Dtype:
    """The dtype that a trained parameter is stored in."""
    path, _, kind = name.rpartition(".")
    return plan.dtypes[f"{path}.weight" if kind in ("scales", "biases") else name]


def with_trained(plan: OutputPlan, files: LayerFiles) -> OutputPlan:
    """Put the vectors that were trained in place of the source's in `plan` (scales and biases come with their codes)."""
    trained = files.get(DISTILLED)
    if trained is None:
        return plan
    vectors = {
        name: LazyTensor(tuple(array.shape), array.dtype, functools.partial(files.read, name), "distilled")
        for name, array in trained.arrays.items()
        if name in plan.inputs
    }
    return dataclasses.replace(plan, inputs={**plan.inputs, **vectors})
