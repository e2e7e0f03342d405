"""What calibrating and measuring sensitivities will take, before they start.

Memory comes from shapes, time from a second of measuring.

The model never lies in memory whole: hidden states (the part beyond a quarter of what is free goes to disk), a
layer twice, the Hessian of its widest module, the embedding and the head. Time is rough: within a factor of two.
"""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import mlx.core as mx

from edgelm import device as devices
from edgelm.errors import FitError
from edgelm.evaluate.probe import measure_rates
from edgelm.quant.gptq import ROWS
from edgelm.quant.search import search
from edgelm.quant.sensitivity import OUTER_BITS
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
    task: Literal["calibrating", "measuring sensitivity"] = "calibrating"


@dataclass(frozen=True)
class _Shape:
    """What the walk will meet."""

    layers: int
    layer_bytes: int
    outer_bytes: int
    vocabulary: int
    """Rows of the largest matrix outside the layers."""
    hidden: int
    widest: int
    weights: int
    """In the layers."""
    matrices: int
    """Quantized, in the layers."""
    columns: int
    """Of all quantized matrices together."""
    used: float
    """Share of them that one token goes through."""
    heads: int
    inner: int
    """Activations of a layer for a token."""

    def exponentials(self, row_tokens: int) -> int:
        """That a layer takes for a token: attention over the whole row, and activations. On a CPU half of the time."""
        return self.heads * row_tokens + self.inner

    @property
    def hessian_bytes(self) -> int:
        """H and C in float32, then what is made of them in float64."""
        return (4 * 2 + 8 * 4) * self.widest**2

    def products_flops(self, tokens: int) -> int:
        """Of H in all layers, as many again of C."""
        return self.layers * 2 * tokens * (3 * self.hidden**2 + self.widest**2)


OnEstimate = Callable[[Estimate], None]


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
    hessian = shape.hessian_bytes if sequential else 0
    fixed = _PROCESS_BYTES + streams * shape.layer_bytes + shape.outer_bytes + hessian
    if fixed + held > free:
        raise FitError(
            f"calibrating takes {format_bytes(fixed + held)} of memory even a layer at a time"
            f" ({format_bytes(shape.layer_bytes)} the largest layer in float32,"
            f" {format_bytes(hessian)} its widest Hessian), and {format_bytes(free)} is safe to use here",
            hint="use --quality good, which needs no Hessians" if sequential else "use --quality fast",
        )
    return Estimate(_elapsed_s(shape, tokens, sequential=sequential), fixed + held, held, states - held)


def estimate_sensitivity(
    plan: Plan, config: Mapping[str, Any], tokens: int, sampled: tuple[int, int], *, sequential: bool
) -> Estimate:
    """Price the measurement of every tensor of `plan`.

    Args:
        tokens: from which it is learned what tensors meet.
        sampled: rows, and tokens of each, that every tensor is carried through.
    """
    shape = _shape(plan, config)
    rows, row_tokens = sampled
    carried = rows * row_tokens
    states = (tokens + (shape.matrices + 1) * carried) * shape.hidden * 4
    held = min(states, devices.memory_budget_bytes(devices.detect()) // 4)
    hessian = shape.hessian_bytes if sequential else 0
    logits = 4 * 4 * row_tokens * shape.vocabulary
    fixed = _PROCESS_BYTES + 2 * shape.layer_bytes + shape.outer_bytes + max(hessian, logits)
    return Estimate(
        _sensitivity_s(shape, tokens, carried, row_tokens, sequential=sequential),
        fixed + held,
        held,
        states - held,
        "measuring sensitivity",
    )


def _shape(plan: Plan, config: Mapping[str, Any]) -> _Shape:
    layers: dict[str, int] = defaultdict(int)
    outer, vocabulary, widest, columns, matrices = 0, 0, 0, 0, 0
    for name, tensor in plan.inputs.items():
        count = math.prod(tensor.shape)
        found = _LAYER.match(name)
        if found is None:
            outer += count * plan.dtypes[name].size
            vocabulary = max(vocabulary, tensor.shape[0] if len(tensor.shape) == 2 else 0)
        else:
            layers[found[1]] += count
            path = name.removesuffix(".weight")
            if path in plan.quantize:
                widest = max(widest, tensor.shape[-1])
                columns += tensor.shape[-1] * (tensor.shape[0] if len(tensor.shape) > 2 else 1)
                matrices += 1
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
        vocabulary,
        hidden,
        widest,
        sum(layers.values()),
        matrices,
        columns,
        used,
        heads,
        inner * (chosen if isinstance(chosen, int) else 1),
    )


def _elapsed_s(shape: _Shape, tokens: int, *, sequential: bool) -> float:
    # Each module of a layer is reached anew in both streams, after those before it were quantized.
    forwards = 5 if sequential else 1
    flops = forwards * 2 * shape.weights * shape.used * tokens
    if sequential:
        flops += 2 * shape.products_flops(tokens)
        flops += 8 * 2 * shape.weights * shape.hidden  # losses and block updates
    # GPTQ, refit and sweep come to about three searches of the same weights.
    searches = (4 if sequential else 1) * shape.weights
    loops_s = _COLUMN_S * shape.columns if sequential else 0.0
    rates = measure_rates()
    # Attention is computed for three of the four modules after it in both streams, to go on, and before a tied head.
    exponentials = (8 if sequential else 1) * shape.layers * shape.exponentials(ROW_TOKENS) * tokens
    forward_s = flops / rates.flops_per_s + exponentials / rates.exponentials_per_s
    return loops_s + forward_s + searches * _search_s_per_weight()


def _sensitivity_s(shape: _Shape, tokens: int, carried: int, row_tokens: int, *, sequential: bool) -> float:
    # A tensor is carried through half of the layers on average, an embedding through all of them at every width.
    passes = shape.matrices / 2 + len(OUTER_BITS)
    outer = shape.vocabulary * shape.hidden
    flops: float = 2 * shape.weights * shape.used * (tokens + passes * carried)
    flops += 2 * outer * carried * (shape.matrices + 2 * len(OUTER_BITS))
    exponentials: float = shape.layers * tokens * shape.exponentials(ROW_TOKENS)
    exponentials += shape.layers * passes * carried * shape.exponentials(row_tokens)
    exponentials += shape.vocabulary * carried * (shape.matrices + 2 * len(OUTER_BITS))
    loops_s, searches = 0.0, shape.weights + len(OUTER_BITS) * outer
    if sequential:
        flops += shape.products_flops(tokens)
        chunks = math.ceil(shape.vocabulary / ROWS)
        loops_s = _COLUMN_S * (shape.columns + len(OUTER_BITS) * chunks * shape.hidden)
        searches *= 3
    rates = measure_rates()
    return (
        loops_s
        + flops / rates.flops_per_s
        + exponentials / rates.exponentials_per_s
        + searches * _search_s_per_weight()
    )


def _search_s_per_weight() -> float:
    weight = mx.random.normal((256, 1024))
    search(weight, 4, 64, mx.bfloat16)
    started = time.perf_counter()
    search(weight, 4, 64, mx.bfloat16)
    return (time.perf_counter() - started) / weight.size
