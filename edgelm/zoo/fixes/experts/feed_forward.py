"""Feed-forward layers of the kind and width that the config names.

Upstream: mlx_lm 0.32.2, models/qwen2_moe.py (experts in every layer, their weights never normalised), mellum.py (experts in
every layer), gpt2.py and gpt_neox.py (four times as wide as the hidden state). Source: transformers 5.24, the modeling files.

Shapes: B sequences, T tokens, H hidden, E experts, K chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgelm.zoo.configs.defaults import completed
from edgelm.zoo.fixes.classes import derived
from edgelm.zoo.fixes.experts.routing import largest, weighed


def use_named_layers(network: Any, config: Mapping[str, Any]) -> None:
    """Make the feed-forward layers of `network`, in place, those of a normalised `config`."""
    kind = config.get("model_type")
    if kind == "qwen2_moe":
        _qwen2(network, completed(dict(config)) or config)
    elif kind == "mellum":
        _mellum(network, completed(dict(config)) or config)
    elif kind == "gpt2":
        _widen(network, ("c_fc", "c_proj"), config.get("n_inner"), config.get("n_embd"))
    elif kind == "gpt_neox":
        names = ("dense_h_to_4h", "dense_4h_to_h")
        _widen(network, names, config.get("intermediate_size"), config.get("hidden_size"))


def _qwen2(network: Any, full: Mapping[str, Any]) -> None:
    from mlx_lm.models.qwen2_moe import MLP, Qwen2MoeSparseMoeBlock

    dense, step = full.get("mlp_only_layers") or (), full.get("decoder_sparse_step") or 1
    normalised = derived(Qwen2MoeSparseMoeBlock, __call__=_normalised)
    for at, layer in enumerate(network.layers):
        if at in dense or (at + 1) % step:
            layer.mlp = MLP(full["hidden_size"], full["intermediate_size"])
        elif full.get("norm_topk_prob"):
            layer.mlp.__class__ = normalised
    _stack(network)


def _normalised(self: Any, x: mx.array) -> mx.array:
    """[B, T, H] of [B, T, H], by experts whose weights sum to one."""
    gates = mx.softmax(self.gate(x), axis=-1, precise=True)
    chosen = largest(gates, self.top_k)
    weights = mx.take_along_axis(gates, chosen, axis=-1)
    y = weighed(self.switch_mlp(x, chosen), weights / weights.sum(axis=-1, keepdims=True))
    shared: mx.array = mx.sigmoid(self.shared_expert_gate(x)) * self.shared_expert(x)
    return y + shared


def _mellum(network: Any, full: Mapping[str, Any]) -> None:
    from mlx_lm.models.qwen2 import MLP  # Mellum has none of its own

    for layer, kind in zip(network.layers, full.get("mlp_layer_types") or (), strict=False):
        if kind == "dense":
            layer.mlp = MLP(full["hidden_size"], full["intermediate_size"])
    _stack(network)


def _stack(network: Any) -> None:
    """Make `sanitize` stack the experts of every layer that has some: upstream looks at the first layer only."""
    upstream = type(network).sanitize

    def sanitize(self: Any, weights: dict[str, mx.array]) -> dict[str, mx.array]:
        given = dict(weights)
        for at, layer in enumerate(self.layers):
            experts, stacked = f"model.layers.{at}.mlp.experts", f"model.layers.{at}.mlp.switch_mlp"
            for name in ("gate_proj", "up_proj", "down_proj"):
                if f"{experts}.0.{name}.weight" in given:
                    count = layer.mlp.num_experts
                    parts = [given.pop(f"{experts}.{expert}.{name}.weight") for expert in range(count)]
                    given[f"{stacked}.{name}.weight"] = mx.stack(parts)
        sanitized: dict[str, mx.array] = upstream(self, given)
        return sanitized

    network.__class__ = derived(type(network), sanitize=sanitize)


def _widen(network: Any, names: tuple[str, str], width: Any, hidden: Any) -> None:
    if not isinstance(width, int) or not isinstance(hidden, int) or width == 4 * hidden:
        return
    for layer in network.layers:
        layer.mlp[names[0]], layer.mlp[names[1]] = nn.Linear(hidden, width), nn.Linear(width, hidden)
