"""Quantizers of one module that look at its weight alone, in slices of rows so that no second copy of it is made.

MLX computes what is put on one stream in order, on a CPU by one thread: slices take turns on a few streams there.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator

import mlx.core as mx

from edgelm.quant.matrix.formats import Packed, searched
from edgelm.quant.matrix.rounding import vector_rounding
from edgelm.quant.matrix.search import DISCRETE, QUICK
from edgelm.zoo.tree import flat_parameters
from edgelm_converters.methods.expected_inputs import expected_importance
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.targets.mlx.weights import SLICES_AHEAD, input_rows

_KINDS = ("weight", "scales", "biases")

WORTH_COMPILING = 1 << 26
"""Weights of a model from which on it pays to have the routine compiled that rounds by vectors."""


def round_to_nearest(plan: OutputPlan, path: str) -> Iterator[Packed]:
    """Quantize the module at `path` as its own `to_quantized` does it, which is what mlx-lm writes; on a CPU by vectors."""
    name = f"{path}.weight"
    if plan.parameters >= WORTH_COMPILING and {f"{path}.{kind}" for kind in _KINDS} <= plan.layout.keys():
        at_once = vector_rounding(plan.quantize[path], plan.dtypes[name])
        if at_once is not None:
            yield from map(at_once, _started(input_rows(plan, name)))
            return
    yield from _rounded_by_mlx(plan, path)


def _started(slices: Iterator[mx.array]) -> Iterator[mx.array]:
    """Give `slices` in order, each once the next one is being read."""
    waiting = None
    for rows in slices:
        mx.async_eval(rows)  # type: ignore[no-untyped-call]
        if waiting is not None:
            yield waiting
        waiting = rows
    if waiting is not None:
        yield waiting


def _rounded_by_mlx(plan: OutputPlan, path: str) -> Iterator[Packed]:
    module, settings = plan.modules[path], plan.quantize[path]
    for stream, rows in zip(itertools.cycle(_streams()), input_rows(plan, f"{path}.weight"), strict=False):
        with mx.stream(stream):
            module.weight = rows
            parameters = flat_parameters(module.to_quantized(**settings))
            packed = {kind: parameters[kind] for kind in _KINDS if kind in parameters}
            module.weight = mx.zeros((0, 0))
            mx.async_eval(packed)  # type: ignore[no-untyped-call]
        yield packed


def search_scales(plan: OutputPlan, path: str) -> Iterator[Packed]:
    """Search the scales and biases of the module at `path` for the smallest squared error of the weights."""
    for rows in input_rows(plan, f"{path}.weight"):
        yield searched(rows, plan.quantize[path], effort=QUICK)


def search_grids(plan: OutputPlan, path: str) -> Iterator[Packed]:
    """Search as well for the grids that quantized weights lie on; columns are weighed where other weights tell their inputs."""
    importance, at = expected_importance(plan, path), 0
    for rows in input_rows(plan, f"{path}.weight"):
        own = importance if importance is None or importance.ndim == 1 else importance[at : at + len(rows)]
        at += len(rows)
        yield searched(rows, plan.quantize[path], own, DISCRETE)


def _streams() -> tuple[mx.Stream | mx.ThreadLocalStream, ...]:
    """The streams that slices take turns on."""
    device = mx.default_device()
    return _cpu_streams() if device == mx.Device(mx.cpu) else (mx.default_stream(device),)


@functools.cache
def _cpu_streams() -> tuple[mx.ThreadLocalStream, ...]:
    return tuple(mx.new_thread_local_stream(mx.cpu) for _ in range(min(os.cpu_count() or 1, SLICES_AHEAD)))
