"""What a calibrated conversion will take, before it starts: memory from shapes, time from a second of measuring.

The model never lies in memory whole: hidden states (the part beyond a quarter of what is free goes to disk), a
layer twice, the Hessian of its widest module, the embedding and the head. Time is rough: within a factor of two.
"""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm import device as devices
from edgelm.errors import FitError
from edgelm.evaluate.probe import measure_rates
from edgelm.quant.search import search
from edgelm.units import format_bytes
from edgelm_converters.calibration_text import ROW_TOKENS
from edgelm_converters.plan import Plan

_LAYER = re.compile(r"^(.*?\.\d+)\.")
_COLUMN_S = 3e-4
"""Of Python and MLX's dispatch for one column of GPTQ and of the sweep after it."""
_PROCESS_BYTES = 400 << 20
"""Python, MLX, the tokenizer and the shipped text."""


@dataclass(frozen=True)
class Estimate:
    """Rounded up."""

    elapsed_s: float
    memory_bytes: int
    activations_bytes: int
    """Of that, hidden states held in memory; the rest of them goes to disk."""
    spilled_bytes: int


@dataclass(frozen=True)
class _Shape:
    """What the walk will meet."""

    layers: int
    layer_bytes: int
    outer_bytes: int
    hidden: int
    widest: int
    weights: int
    """In the layers."""
    columns: int
    """Of all quantized matrices together."""
    used: float
    """Share of them that one token goes through."""
    exponentials: int
    """That a layer takes for a token: attention over the whole row, and activations. On a CPU half of the time."""


def estimate(plan: Plan, config: Mapping[str, Any], tokens: int, *, sequential: bool) -> Estimate:
    """Price the calibration of `plan` on this machine, with `tokens` of text.

    Raises:
        FitError: even a layer at a time it does not fit.
    """
    machine = devices.detect()
    free = devices.memory_budget_bytes(machine)
    shape = _shape(plan, config)
    streams = 2 if sequential else 1
    states = streams * tokens * shape.hidden * 4
    held = min(states, free // 4)
    # H and C in float32, then what is made of them in float64.
    hessian = (4 * 2 + 8 * 4) * shape.widest**2 if sequential else 0
    fixed = _PROCESS_BYTES + streams * shape.layer_bytes + shape.outer_bytes + hessian
    if fixed + held > free:
        raise FitError(
            f"calibrating takes {format_bytes(fixed + held)} of memory even a layer at a time"
            f" ({format_bytes(shape.layer_bytes)} the largest layer in float32,"
            f" {format_bytes(hessian)} its widest Hessian), and {format_bytes(free)} is safe to use here",
            hint="use --quality good, which needs no Hessians" if sequential else "use --quality fast",
        )
    return Estimate(_elapsed_s(shape, tokens, sequential=sequential), fixed + held, held, states - held)


def _shape(plan: Plan, config: Mapping[str, Any]) -> _Shape:
    layers: dict[str, int] = defaultdict(int)
    outer, widest, columns = 0, 0, 0
    for name, tensor in plan.inputs.items():
        count = math.prod(tensor.shape)
        found = _LAYER.match(name)
        if found is None:
            outer += count * plan.dtypes[name].size
        else:
            layers[found[1]] += count
            path = name.removesuffix(".weight")
            if path in plan.quantize:
                widest = max(widest, tensor.shape[-1])
                columns += tensor.shape[-1] * (tensor.shape[0] if len(tensor.shape) > 2 else 1)
    text = config.get("text_config") or config
    hidden = next(
        (int(text[key]) for key in ("hidden_size", "n_embd", "d_model", "dim") if key in text), widest
    )
    chosen = text.get("num_experts_per_tok")
    experts = text.get("num_local_experts") or text.get("num_experts") or text.get("n_routed_experts")
    used = chosen / experts if isinstance(chosen, int) and isinstance(experts, int) and experts else 1.0
    heads = int(text.get("num_attention_heads") or text.get("n_head") or 0)
    inner = int(text.get("moe_intermediate_size") or text.get("intermediate_size") or 4 * hidden)
    return _Shape(
        len(layers),
        4 * max(layers.values(), default=0),
        outer,
        hidden,
        widest,
        sum(layers.values()),
        columns,
        used,
        heads * ROW_TOKENS + inner * (chosen if isinstance(chosen, int) else 1),
    )


def _elapsed_s(shape: _Shape, tokens: int, *, sequential: bool) -> float:
    # Each module of a layer is reached anew in both streams, after those before it were quantized.
    forwards = 5 if sequential else 1
    flops = forwards * 2 * shape.weights * shape.used * tokens
    if sequential:
        flops += shape.layers * 2 * 2 * tokens * (3 * shape.hidden**2 + shape.widest**2)
        flops += 8 * 2 * shape.weights * shape.hidden  # losses and block updates
    # GPTQ, refit and sweep come to about three searches of the same weights.
    searches = (4 if sequential else 1) * shape.weights
    loops_s = _COLUMN_S * shape.columns if sequential else 0.0
    rates = measure_rates()
    # Attention is computed for three of the four modules after it in both streams, to go on, and before a tied head.
    exponentials = (8 if sequential else 1) * shape.layers * shape.exponentials * tokens
    forward_s = flops / rates.flops_per_s + exponentials / rates.exponentials_per_s
    return loops_s + forward_s + searches * _search_s_per_weight()


def _search_s_per_weight() -> float:
    weight = mx.random.normal((256, 1024))
    search(weight, 4, 64, mx.bfloat16)
    started = time.perf_counter()
    search(weight, 4, 64, mx.bfloat16)
    return (time.perf_counter() - started) / weight.size
