"""Experts chosen and weighed as their authors do: ERNIE 4.5's correction bias, Jamba's unnormalised weights.

Upstream: mlx_lm 0.32.2, models/ernie4_5_moe.py drops `e_score_correction_bias`, so other experts answer; models/jamba.py
takes the softmax over the chosen experts only, so their weights sum to one, and places the layers of experts by `(layer +
offset) % period`. Who is right: Baidu's code adds the bias for the choice (PaddlePaddle/ERNIE, `moe_statics`), AI21's takes
the softmax over all experts and keeps its values (their modeling_jamba.py, as published). Source: transformers 5.24,
modeling_ernie4_5_moe.py `Ernie4_5_MoeTopKRouter`, modeling_jamba.py `JambaTopKRouter`, configuration_jamba.py.

Shapes: B sequences, T tokens, H hidden, E experts, K chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx

from edgelm.zoo.fixes.classes import derived

_BIAS = "e_score_correction_bias"


def use_routers(network: Any, config: Mapping[str, Any]) -> None:
    """Make the routers of an ERNIE 4.5 or a Jamba, in place, choose and weigh as a normalised `config` says."""
    kind = config.get("model_type")
    if kind == "jamba":
        _route_jamba(network)
    elif kind == "ernie4_5_moe":
        _route_ernie(network, float(config.get("moe_norm_min") or 1e-12))


def _route_jamba(network: Any) -> None:
    from mlx_lm.models.jamba import JambaMLP, JambaSparseMoeBlock

    args = network.args
    for at, layer in enumerate(network.layers):
        has_experts = args.num_experts > 1 and at % args.expert_layer_period == args.expert_layer_offset
        wanted = JambaSparseMoeBlock if has_experts else JambaMLP
        if not isinstance(layer.feed_forward, wanted):
            layer.feed_forward = wanted(args)
        if has_experts:
            layer.feed_forward.__class__ = derived(JambaSparseMoeBlock, __call__=_jamba)


def _jamba(self: Any, x: mx.array) -> mx.array:
    """[B, T, H] of [B, T, H]."""
    weights = mx.softmax(self.router(x).astype(mx.float32), axis=-1)
    chosen = largest(weights, self.num_experts_per_tok)
    return weighed(self.switch_mlp(x, chosen), mx.take_along_axis(weights, chosen, axis=-1))


def _route_ernie(network: Any, least: float) -> None:
    from mlx_lm.models.ernie4_5_moe import Ernie4_5_MoeMLP

    def ernie(self: Any, x: mx.array) -> mx.array:
        weights = self.gate_act(self.gate(x).astype(mx.float32))
        chosen = largest(weights + self[_BIAS], self.k)
        of_chosen = mx.take_along_axis(weights, chosen, axis=-1)
        of_chosen = of_chosen / mx.maximum(of_chosen.sum(axis=-1, keepdims=True), least)
        y = weighed(self.switch_mlp(x, chosen), of_chosen)
        return y if self.shared_experts is None else y + self.shared_experts(x)

    block = derived(Ernie4_5_MoeMLP, __call__=ernie)
    for layer in network.layers:
        if isinstance(layer.mlp, Ernie4_5_MoeMLP):
            layer.mlp.__class__ = block
            layer.mlp[_BIAS] = mx.zeros((network.args.moe_num_experts,))
            for matrices in layer.mlp.switch_mlp.children().values():
                matrices.pop("bias", None)  # `use_bias` is not for experts
    kind = type(network)
    network.__class__ = derived(
        kind,
        sanitize=_keeping_biases(kind.sanitize),
        cast_predicate=property(lambda _: lambda path: _BIAS not in path),
    )


def _keeping_biases(upstream: Any) -> Any:
    """ERNIE's `sanitize`, which drops the biases, [1, E] or [E] under the name of a router or of `moe_statics`."""

    def sanitize(self: Any, weights: dict[str, mx.array]) -> dict[str, mx.array]:
        given = {
            f"{name.split('.mlp.')[0]}.mlp.{_BIAS}": array
            for name, array in weights.items()
            if name.endswith(f".{_BIAS}") and ".mlp." in name and ".mtp_block." not in name
        }
        sanitized: dict[str, mx.array] = upstream(self, weights)
        for at, layer in enumerate(self.layers):
            if _BIAS in layer.mlp:
                name = f"model.layers.{at}.mlp.{_BIAS}"
                bias = given.get(name)  # an older conversion has none, and computes without
                sanitized[name] = mx.zeros((self.args.moe_num_experts,)) if bias is None else bias.flatten()
        return sanitized

    return sanitize


def largest(scores: mx.array, count: int) -> mx.array:
    """Return the experts `[B, T, K]` of the largest of `scores` `[B, T, E]`."""
    return mx.stop_gradient(mx.argpartition(-scores, kth=count - 1, axis=-1)[..., :count])


def weighed(answers: mx.array, weights: mx.array) -> mx.array:
    """Return the sum `[B, T, H]` of `answers` `[B, T, K, H]` by `weights` `[B, T, K]`."""
    return (answers * weights[..., None]).sum(axis=-2).astype(answers.dtype)
