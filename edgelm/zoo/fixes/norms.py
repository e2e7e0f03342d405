"""Epsilons of norms as the config, or the authors' code, has them.

Upstream: mlx_lm 0.32.2. models/mamba.py and recurrent_gemma.py leave MLX's own epsilon, nanochat.py has one wired in,
minicpm3.py and glm4_moe_lite.py give the norms inside latent attention another one than their authors' code. Source:
transformers 5.24, the modeling files.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

import mlx.core as mx

from edgelm.zoo.fixes.classes import derived

_LATENT = 1e-6
"""What `q_a_layernorm` and `kv_a_layernorm` have, whatever `rms_norm_eps` is."""


def use_named_epsilons(network: Any, config: Mapping[str, Any]) -> None:
    """Give the norms of `network`, in place, the epsilon of a normalised `config`."""
    kind = config.get("model_type")
    if kind in ("mamba", "falcon_mamba") and config.get("layer_norm_epsilon") is not None:
        for norm in (network.backbone.norm_f, *(layer.norm for layer in network.layers)):
            norm.eps = float(config["layer_norm_epsilon"])
    elif kind == "recurrent_gemma" and config.get("rms_norm_eps") is not None:
        for layer in network.layers:
            layer.temporal_pre_norm.eps = layer.channel_pre_norm.eps = float(config["rms_norm_eps"])
    elif kind in ("minicpm3", "glm4_moe_lite"):
        for path, module in network.named_modules():
            if path.endswith(("q_a_layernorm", "kv_a_layernorm")):
                module.eps = _LATENT
    elif kind in ("llama4", "llama4_text", "nanochat"):
        text = config.get("text_config")
        said = (text if isinstance(text, dict) else config).get("rms_norm_eps")
        _set_functions(network, float(said or (1e-6 if kind == "nanochat" else 1e-5)))


def _set_functions(network: Any, epsilon: float) -> None:
    """Norms without weights are no modules: a function of nanochat's file, and MLX's own in Llama 4's attention."""

    def rms_norm(x: mx.array, weight: Any = None, eps: float = epsilon) -> mx.array:
        return mx.fast.rms_norm(x, weight, epsilon)

    fast = types.SimpleNamespace(**{**vars(mx.fast), "rms_norm": rms_norm})
    changed = {"rms_norm": rms_norm, "mx": types.SimpleNamespace(**{**vars(mx), "fast": fast})}
    for _, module in network.named_modules():
        call = type(module).__call__
        if isinstance(call, types.FunctionType) and "rms_norm" in call.__code__.co_names:
            known = {name: changed[name] for name in changed if name in call.__globals__}
            own = types.FunctionType(
                call.__code__, {**call.__globals__, **known}, call.__name__, call.__defaults__
            )
            module.__class__ = derived(type(module), __call__=own)
