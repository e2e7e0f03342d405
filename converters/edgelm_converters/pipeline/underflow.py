"""Tensors whose values nvfp4 cannot hold: measured before anything is written, and kept in another format.

nvfp4's block scales are 8-bit floats from 2^-9 to 448: blocks whose largest weight lies below 0.0059 become zeros, and up
to 0.09 scales are coarse. A scale for the whole tensor would mend that, but MLX 0.32 multiplies by one only in mlx-lm's
experts and only on a GPU, so what such a model computes would depend on the machine. Affine codes of as many bits have
scales of their own range, the same size, and a smaller error (0.0082 against 0.0090 of the weights' mean square, Gaussian).
"""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx

from edgelm.quant.apply import Decision
from edgelm.quant.matrix.formats import dequantized, rounded
from edgelm.quant.scheme import Scheme, Settings, fit_group, mode_of
from edgelm.units import count
from edgelm_converters.pipeline.job import ConversionJob
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.weights.source_weights import SourceWeights

MODE = "nvfp4"
LARGEST_ERROR = 0.02
"""Share of a tensor's mean square that may be lost: twice what nvfp4 loses of weights that its scales fit."""

SLICE_WEIGHTS = 1 << 22
"""Weights that are measured at once: 16 MB in float32."""


def without_underflow(job: ConversionJob, decision: Decision, plan: OutputPlan) -> Decision | None:
    """Give the layers that nvfp4 cannot hold affine codes of as many bits; None if it holds all.

    Reads every weight that becomes nvfp4, in a pass of its own. What was changed is noted for the receipt.
    """
    paths = [path for path, settings in plan.quantize.items() if mode_of(settings) == MODE]
    if not paths:
        return None
    with job.watch.step("measuring the range of nvfp4"):
        read = SourceWeights(job.fresh, plan.dtypes)
        errors = {path: largest_error(read(f"{path}.weight"), plan.quantize[path]) for path in paths}
    lost = {path: error for path, error in errors.items() if not error <= LARGEST_ERROR}
    if not lost:
        return None
    worst = max(lost, key=lambda path: lost[path])
    job.notes.append(
        f"nvfp4 cannot hold {count(len(lost), 'tensor')}, and would lose {lost[worst]:.0%} of {worst}: its smallest"
        " scale is 2^-9. They are affine codes of as many bits instead"
    )
    return _changed(decision, {path: _affine(plan, path) for path in lost}, plan)


def largest_error(weight: mx.array, settings: Settings) -> float:
    """Return the share of the mean square of `weight` [..., R, C] that rounding loses; of experts, that of the worst."""
    experts = [weight] if weight.ndim == 2 else [weight[index] for index in range(weight.shape[0])]
    return max(_error(expert, settings) for expert in experts)


def _error(weight: mx.array, settings: Settings) -> float:
    step = max(1, SLICE_WEIGHTS // weight.shape[1])
    lost = total = 0.0
    for start in range(0, weight.shape[0], step):
        rows = weight[start : start + step].astype(mx.float32)
        error = dequantized(rounded(rows, settings), settings) - rows
        total += float(mx.square(rows).sum().item())  # type: ignore[arg-type]
        lost += float(mx.square(error).sum().item())  # type: ignore[arg-type]
    return lost / total if total else 0.0


def _affine(plan: OutputPlan, path: str) -> Settings | None:
    bits = int(plan.quantize[path]["bits"])
    return fit_group(Scheme("affine", bits=bits).settings, plan.inputs[f"{path}.weight"].shape[-1])


def _changed(decision: Decision, instead: dict[str, Settings | None], plan: OutputPlan) -> Decision:
    """`decision` with other settings for some layers; those that have none are left unquantized."""
    layers, asked, left = dict(decision.layers), dict(decision.asked), dict(decision.left)
    for path, settings in instead.items():
        if settings is None:
            del layers[path]
            left[path] = plan.inputs[f"{path}.weight"].shape[-1]
        else:
            layers[path] = asked[path] = settings
    return replace(decision, layers=layers, asked=asked, left=left)
