"""What a down projection's inputs are expected to be, from the weights before it."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx

from edgelm.quant.matrix.formats import dequantized
from edgelm_converters.methods.expected_inputs import expected_importance, expected_squares
from edgelm_converters.methods.quantizers import search_grids
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.targets.mlx.plan import OutputPlan

HIDDEN, INNER = 48, 128
SETTINGS = {"bits": 3, "group_size": 64, "mode": "affine"}
LAYER = "model.layers.0"
DOWN = f"{LAYER}.mlp.down_proj"


def a_plan(*experts: int) -> OutputPlan:
    """A feed-forward layer, one channel of which is far louder than the others."""
    mx.random.seed(4)
    loud = mx.where(mx.arange(INNER) == 5, 12.0, 1.0)[:, None]
    weights = {
        f"{LAYER}.mlp.gate_proj.weight": mx.random.normal((*experts, INNER, HIDDEN)) * 0.1 * loud,
        f"{LAYER}.mlp.up_proj.weight": mx.random.normal((*experts, INNER, HIDDEN)) * 0.1 * loud,
        f"{DOWN}.weight": mx.random.normal((*experts, 32, INNER)) * 0.05,
        f"{LAYER}.post_attention_layernorm.weight": mx.random.uniform(0.5, 2.0, (HIDDEN,)),
    }
    inputs = {name: LazyTensor(tuple(v.shape), v.dtype, lambda v=v: v, "Q2_K") for name, v in weights.items()}
    dtypes = dict.fromkeys(weights, mx.float32)
    return OutputPlan({}, {}, {DOWN: SETTINGS}, {}, inputs, dtypes, 0)


def inputs_of_down(plan: OutputPlan, count: int) -> mx.array:
    """What Gaussian hidden states [B, H] become in front of the down projection [B, I]."""
    x = mx.random.normal((count, HIDDEN)) * plan.inputs[f"{LAYER}.post_attention_layernorm.weight"].read()
    gate, up = (plan.inputs[f"{LAYER}.mlp.{name}_proj.weight"].read() for name in ("gate", "up"))
    g = x @ gate.T
    return g * mx.sigmoid(g) * (x @ up.T)


def test_the_expectation_is_what_gaussian_states_give() -> None:
    plan = a_plan()
    gains = plan.inputs[f"{LAYER}.post_attention_layernorm.weight"].read()
    gate, up = (plan.inputs[f"{LAYER}.mlp.{name}_proj.weight"].read() * gains for name in ("gate", "up"))
    drawn = mx.square(inputs_of_down(plan, 20_000)).mean(axis=0)
    ratio = expected_squares(gate, up) / drawn
    assert 0.75 < float(ratio.min().item()) <= float(ratio.max().item()) < 1.33


def test_what_leaves_the_layer_is_nearer_than_with_columns_weighed_alike() -> None:
    plan = a_plan()
    alike = replace(plan, inputs={f"{DOWN}.weight": plan.inputs[f"{DOWN}.weight"]})
    weight, x = plan.inputs[f"{DOWN}.weight"].read(), inputs_of_down(plan, 500)

    def error(of: OutputPlan) -> float:
        (packed,) = search_grids(of, DOWN)
        return float(mx.square(x @ (dequantized(packed, SETTINGS) - weight).T).mean().item())

    assert error(plan) < 0.5 * error(alike)


def test_experts_have_their_own() -> None:
    plan = a_plan(3)
    importance = expected_importance(plan, DOWN)
    assert importance is not None
    assert importance.shape == (3, INNER)
    (packed,) = search_grids(plan, DOWN)
    assert packed["scales"].shape == (3, 32, INNER // 64)


def test_nothing_is_expected_of_other_modules_or_of_weights_that_can_be_read_once() -> None:
    plan = a_plan()
    assert expected_importance(plan, f"{LAYER}.mlp.gate_proj") is None
    once = {name: replace(tensor, stored_as="computed") for name, tensor in plan.inputs.items()}
    assert expected_importance(replace(plan, inputs=once), DOWN) is None


def test_neighbours_that_stay_packed_tell_as_much() -> None:
    plan, name = a_plan(), f"{LAYER}.mlp.up_proj"
    weight = mx.pad(plan.inputs[f"{name}.weight"].read(), [(0, 0), (0, 16)])
    settings = {"bits": 8, "group_size": 32, "mode": "affine"}
    parts = dict(zip(("weight", "scales", "biases"), mx.quantize(weight, 32, 8), strict=True))
    others = {
        each: replace(
            tensor, shape=(INNER, 64), read=lambda tensor=tensor: mx.pad(tensor.read(), [(0, 0), (0, 16)])
        )
        for each, tensor in plan.inputs.items()
        if each.endswith("gate_proj.weight")
    }
    triple = {
        f"{name}.{kind}": LazyTensor(tuple(v.shape), v.dtype, lambda v=v: v, "Q8_0")
        for kind, v in parts.items()
    }
    inputs = {**plan.inputs, **others, **triple}
    inputs.pop(f"{LAYER}.post_attention_layernorm.weight")
    plain = {**inputs, f"{name}.weight": LazyTensor((INNER, 64), mx.float32, lambda: weight, "F32")}
    plain = {each: tensor for each, tensor in plain.items() if not each.startswith(f"{name}.s")}
    plain.pop(f"{name}.biases")
    told = expected_importance(replace(plan, inputs=inputs, packed={name: settings}), DOWN)
    known = expected_importance(replace(plan, inputs=plain), DOWN)
    assert told is not None
    assert known is not None
    assert bool(mx.allclose(told, known, rtol=0.05).item())
