"""How strongly each input of a down projection is expected to be excited, from the weights before it and without any text.

A gated feed-forward layer gives its down projection silu(g) · u, with g = a·x and u = b·x for the rows a and b of its gate and
up projections. Were x, which comes out of a norm, Gaussian with the norm's gains as deviations, g and u would be Gaussian
too, and E[(silu(g) u)²] follows from |a|², |b|² and a·b. Few channels carry most of it in layers with massive activations
(Sun et al. 2024, arXiv:2402.17762), and a search that weighs all columns alike spends its codes on the others: of SmolLM2's
layers 2 and 18, Q2_K as 3 bits in groups of 128, the KL that is added falls from 0.043 to 0.009 nats. What a norm gives to
the other projections is not told by its gains: weighed by their squares, the KL was larger than weighed alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import mlx.core as mx
import numpy as np

from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.targets.mlx.weights import SLICE_BYTES, read_input
from edgelm_converters.weights.packed import unpacked

SPREAD = 1.5
"""Power of what is expected: hidden states have outliers, which widen what Gaussian ones would give (measured: 1, 1.5 and 2
add 0.0119, 0.0082 and 0.0095 nats)."""

_NORMS = ("pre_feedforward_layernorm", "post_attention_layernorm", "ffn_norm")
"""Names of the norm before a feed-forward layer, the more telling first: some have a norm of the second name elsewhere."""

_DEVIATIONS = np.linspace(-5, 5, 101)
_DENSITY = np.exp(-(_DEVIATIONS**2) / 2) / np.exp(-(_DEVIATIONS**2) / 2).sum()


def expected_importance(plan: OutputPlan, path: str) -> mx.array | None:
    """Return the importance [I], or [E, I] of experts, of the columns of the module at `path`; None where it is not known.

    Known for a `down_proj` beside a `gate_proj` and an `up_proj` that can be read, rows [I, H] or [E, I, H].
    """
    parent, _, name = path.rpartition(".")
    gate, up = f"{parent}.gate_proj.weight", f"{parent}.up_proj.weight"
    if name != "down_proj" or not (_is_readable(plan, gate) and _is_readable(plan, up)):
        return None
    shape = _shape(plan, gate)
    if shape != _shape(plan, up) or shape[-2] != plan.inputs[f"{path}.weight"].shape[-1]:
        return None
    gains = _gains(plan, parent, shape[-1])
    of_gate, of_up = _reader(plan, gate), _reader(plan, up)
    step = max(1, SLICE_BYTES // (2 * math.prod(shape[1:])))
    parts = [
        expected_squares(of_gate(start, start + step) * gains, of_up(start, start + step) * gains)
        for start in range(0, shape[0], step)
    ]
    importance = mx.concatenate(parts) ** SPREAD
    mx.eval(importance)
    return importance if bool(mx.isfinite(importance).all().item()) else None


def expected_squares(gate: mx.array, up: mx.array) -> mx.array:
    """Compute E[(silu(a·x) b·x)²] for rows a of `gate` and b of `up`, both [..., I, H], and standard Gaussian x [H]."""
    of_gate, of_up = mx.square(gate).sum(axis=-1), mx.square(up).sum(axis=-1)
    slope = (gate * up).sum(axis=-1) / mx.maximum(of_gate, 1e-30)
    rest = mx.maximum(of_up - slope * slope * of_gate, 0)
    values = mx.sqrt(of_gate)[..., None] * mx.array(_DEVIATIONS, mx.float32)
    squares = mx.square(values * mx.sigmoid(values)) * mx.array(_DENSITY, mx.float32)
    return slope * slope * (squares * values * values).sum(axis=-1) + rest * squares.sum(axis=-1)


def _is_readable(plan: OutputPlan, name: str) -> bool:
    """Whether a weight can be read once more when its own turn comes."""
    tensor = plan.inputs.get(name)
    return tensor is not None and tensor.stored_as != "computed"


def _weight(plan: OutputPlan, name: str) -> LazyTensor:
    """The weight as numbers, also where it lies packed."""
    path = name.removesuffix(".weight")
    names = (f"{path}.{kind}" for kind in ("weight", "scales", "biases"))
    return unpacked({each: plan.inputs[each] for each in names if each in plan.inputs}, plan.packed)[name]


def _shape(plan: OutputPlan, name: str) -> tuple[int, ...]:
    return _weight(plan, name).shape


def _reader(plan: OutputPlan, name: str) -> Callable[[int, int], mx.array]:
    """Make a function that gives rows of a weight in float32; where they cannot be read alone, all are held."""
    tensor = _weight(plan, name)
    read = tensor.read_rows
    if read is None:
        whole = tensor.read()
        return lambda start, stop: whole[start:stop].astype(mx.float32)
    rows, count = read, tensor.shape[0]
    return lambda start, stop: rows(start, min(stop, count)).astype(mx.float32)


def _gains(plan: OutputPlan, parent: str, width: int) -> mx.array:
    layer = parent.rpartition(".")[0]
    names = (f"{layer}.{norm}.weight" for norm in _NORMS)
    name = next((name for name in names if name in plan.inputs), None)
    if name is None or plan.inputs[name].shape != (width,):
        return mx.ones((width,))
    return read_input(plan, name).astype(mx.float32)
