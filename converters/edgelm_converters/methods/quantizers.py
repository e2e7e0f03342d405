"""Quantizers of one module that look at its weight alone, in slices of rows so that no second copy of it is made."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from edgelm.quant.matrix.formats import Packed, searched
from edgelm.quant.matrix.search import QUICK
from edgelm.zoo.tree import flat_parameters
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.targets.mlx.weights import read_input

LARGE_BYTES = 64 << 20
"""Tensors above this are quantized in slices of rows."""


def round_to_nearest(plan: OutputPlan, path: str) -> Packed:
    """Quantize the module at `path` by its own `to_quantized`, as mlx-lm does it."""
    module, settings = plan.modules[path], plan.quantize[path]

    def quantize(weight: mx.array) -> Packed:
        module.weight = weight
        parameters = flat_parameters(module.to_quantized(**settings))
        return {kind: value for kind, value in parameters.items() if kind in ("weight", "scales", "biases")}

    packed = _by_slices(read_input(plan, f"{path}.weight"), quantize)
    module.weight = mx.zeros((0, 0))
    return packed


def search_scales(plan: OutputPlan, path: str) -> Packed:
    """Search the scales and biases of the module at `path` for the smallest squared error of the weights."""
    settings = plan.quantize[path]
    weight = read_input(plan, f"{path}.weight")
    return _by_slices(weight, lambda rows: searched(rows, settings, effort=QUICK))


def _by_slices(weight: mx.array, quantize: Callable[[mx.array], Packed]) -> Packed:
    """`quantize` applied to slices along the first axis (groups lie along the last), joined."""
    count = max(1, min(weight.shape[0], -(-weight.nbytes // LARGE_BYTES)))
    step = -(-weight.shape[0] // count)
    parts: list[Packed] = []
    for start in range(0, weight.shape[0], step):
        parts.append(quantize(weight[start : start + step]))
        mx.eval(parts[-1])
    packed: Packed = {}
    for kind in list(parts[0]):
        columns = [part.pop(kind) for part in parts]
        packed[kind] = columns[0] if len(columns) == 1 else mx.concatenate(columns)
        mx.eval(packed[kind])
    return packed
