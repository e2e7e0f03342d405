"""What calibrating and measuring sensitivities will take, before they start (distilling: `distilling.py`).

Memory comes from shapes, time from a second of measuring.

The model never lies in memory whole: hidden states (the part beyond a quarter of what is free goes to disk), a
layer twice, the Hessian of its widest module, the embedding and the head. Time is rough: within a factor of two.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import mlx.core as mx

from edgelm import device as devices
from edgelm.errors import FitError
from edgelm.pricing.machine_rates import measure_rates
from edgelm.quant.layers.sensitivity import OUTER_BITS
from edgelm.quant.matrix.gptq import ROWS
from edgelm.quant.matrix.search import search
from edgelm.units import format_bytes
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.workload import Workload

_COLUMN_S = 3e-4
"""Seconds of Python and MLX's dispatch for one column of GPTQ and of the sweep after it."""
_READ_BYTES = 6
"""Bytes of a weight that is read in half precision and written in single."""
_WRITTEN_S_PER_BYTE = 4e-9
"""Hashing with SHA-256, and the disk."""
_CALIBRATION_ROW, _LOSS_ROW = 512, 256
"""Tokens of a row: `methods.calibration_text.ROW_TOKENS`, and what the loss is measured on."""
_UNPACKED_BYTES = 16
"""Read packed or in half precision, and written and read in single."""
_PROCESS_BYTES = 400 << 20
"""Python, MLX, the tokenizer and the shipped text."""


@dataclass(frozen=True)
class StepEstimate:
    """What one long step of a conversion takes; memory is rounded up."""

    elapsed_s: float
    memory_bytes: int
    activations_bytes: int
    """The hidden states in that; the rest of them goes to disk."""
    spilled_bytes: int
    task: Literal["calibrating", "measuring sensitivity", "distilling", "measuring the loss"] = "calibrating"
    later_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds of the long steps that come after it and are announced with it."""


OnEstimate = Callable[[StepEstimate], None]


def estimate(plan: OutputPlan, config: Mapping[str, Any], tokens: int, *, sequential: bool) -> StepEstimate:
    """Price the calibration of `plan` on this machine, with `tokens` of text.

    Raises:
        FitError: even a layer at a time it does not fit.
    """
    machine = devices.detect()
    free = devices.memory_budget_bytes(machine)
    work = Workload.of(plan, config)
    streams = 2 if sequential else 1
    states = streams * tokens * work.hidden * 4
    held = min(states, free // 4)
    hessian = work.hessian_bytes if sequential else 0
    fixed = _PROCESS_BYTES + streams * work.layer_bytes + work.outer_bytes + hessian
    if fixed + held > free:
        raise FitError(
            f"calibrating takes {format_bytes(fixed + held)} of memory even a layer at a time"
            f" ({format_bytes(work.layer_bytes)} the largest layer in float32,"
            f" {format_bytes(hessian)} its widest Hessian), and {format_bytes(free)} is safe to use here",
            hint="use --quality good, which needs no Hessians" if sequential else "use --quality fast",
        )
    return StepEstimate(_elapsed_s(work, tokens, sequential=sequential), fixed + held, held, states - held)


def estimate_sensitivity(
    plan: OutputPlan, config: Mapping[str, Any], tokens: int, sampled: tuple[int, int], *, sequential: bool
) -> StepEstimate:
    """Price the measurement of every tensor of `plan`.

    Args:
        tokens: from which it is learned what tensors meet.
        sampled: rows, and tokens of each, that every tensor is carried through.
    """
    work = Workload.of(plan, config)
    rows, row_tokens = sampled
    carried = rows * row_tokens
    streams = (
        math.ceil(work.matrices / max(1, work.layers)) + 2
    )  # of a layer's tensors; the source here and at the end
    states = (tokens + streams * carried) * work.hidden * 4
    held = min(states, devices.memory_budget_bytes(devices.detect()) // 4)
    hessian = work.hessian_bytes if sequential else 0
    logits = 4 * 4 * row_tokens * work.vocabulary
    fixed = _PROCESS_BYTES + 2 * work.layer_bytes + work.outer_bytes + max(hessian, logits)
    return StepEstimate(
        _sensitivity_s(work, tokens, carried, row_tokens, sequential=sequential),
        fixed + held,
        held,
        states - held,
        "measuring sensitivity",
    )


def later_steps(plan: OutputPlan, config: Mapping[str, Any], loss_tokens: int) -> dict[str, float]:
    """Price, in seconds, writing `plan` and measuring its loss on so many tokens; 0 tokens measure nothing."""
    work, rates = Workload.of(plan, config), measure_rates()
    outer = work.vocabulary * work.hidden
    seconds = {"writing": plan.size_bytes * _WRITTEN_S_PER_BYTE + work.outer_bytes / rates.moved_bytes_per_s}
    if loss_tokens:
        # Source, result and round-to-nearest: each is read, unpacked and run; two are compared with the source's logits.
        flops = 3 * 2 * work.weights * work.used * loss_tokens + 4 * 2 * outer * loss_tokens
        exponentials = (
            3 * work.layers * work.exponentials(_LOSS_ROW) * loss_tokens + 6 * work.vocabulary * loss_tokens
        )
        moved = 3 * (work.weights + outer) * _UNPACKED_BYTES
        seconds["measuring the loss"] = (
            rates.seconds(flops=flops, moved_bytes=moved, exponentials=exponentials)
            + (work.weights + outer) * _rounding_s_per_weight()
        )
    return seconds


def _rounding_s_per_weight() -> float:
    """Measure rounding to nearest in half precision, and unpacking that."""
    weight = mx.random.normal((256, 1024)).astype(mx.bfloat16)
    mx.eval(weight)
    started = time.perf_counter()
    mx.eval(mx.dequantize(*mx.quantize(weight, 64, 4), 64, 4))
    return (time.perf_counter() - started) / weight.size


def _elapsed_s(work: Workload, tokens: int, *, sequential: bool) -> float:
    # Each module of a layer is reached anew in both streams, after those before it were quantized.
    forwards = 5 if sequential else 1
    flops = forwards * 2 * work.weights * work.used * tokens
    if sequential:
        flops += 2 * work.products_flops(tokens)
        flops += 8 * 2 * work.weights * work.hidden  # losses and block updates
    # GPTQ, refit and sweep come to about three searches of the same weights.
    searches = (4 if sequential else 1) * work.weights
    loops_s = _COLUMN_S * work.columns if sequential else 0.0
    # Attention is computed for three of the four modules after it in both streams, to go on, and before a tied head.
    exponentials = (8 if sequential else 1) * work.layers * work.exponentials(_CALIBRATION_ROW) * tokens
    forward_s = measure_rates().seconds(flops=flops, exponentials=exponentials)
    return loops_s + forward_s + searches * _search_s_per_weight()


def _sensitivity_s(work: Workload, tokens: int, carried: int, row_tokens: int, *, sequential: bool) -> float:
    # A tensor is carried through half of the layers on average, an embedding through all of them at every width.
    passes = work.matrices / 2 + len(OUTER_BITS)
    outer = work.vocabulary * work.hidden
    flops: float = 2 * work.weights * work.used * (tokens + (passes + 2) * carried)
    predictions = work.matrices + work.layers + 2 * len(OUTER_BITS)
    flops += 2 * outer * carried * predictions
    exponentials: float = work.layers * tokens * work.exponentials(_CALIBRATION_ROW)
    exponentials += work.layers * passes * carried * work.exponentials(row_tokens)
    exponentials += work.vocabulary * carried * predictions
    loops_s, searches = 0.0, work.weights + len(OUTER_BITS) * outer
    moved = work.layers / 2 * work.weights * _READ_BYTES
    if sequential:
        flops += work.products_flops(tokens)
        chunks = math.ceil(work.vocabulary / ROWS)
        loops_s = _COLUMN_S * (work.columns + len(OUTER_BITS) * chunks * work.hidden)
        searches *= 3
    forward_s = measure_rates().seconds(flops=flops, moved_bytes=moved, exponentials=exponentials)
    return loops_s + forward_s + searches * _search_s_per_weight()


def _search_s_per_weight() -> float:
    weight = mx.random.normal((256, 1024))
    search(weight, 4, 64, mx.bfloat16)
    started = time.perf_counter()
    search(weight, 4, 64, mx.bfloat16)
    return (time.perf_counter() - started) / weight.size
