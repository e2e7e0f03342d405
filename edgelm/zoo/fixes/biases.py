"""Biases as the config has them, where mlx-lm's architecture always has them, or never.

Upstream: mlx_lm 0.32.2, models/qwen3.py and qwen3_moe.py (`attention_bias` is never read), phimoe.py (biases are wired in),
starcoder2.py (`use_bias` is never read), ernie4_5_moe.py (the head has none). Source: transformers 5.24, the modeling files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgelm.zoo.configs.defaults import completed

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_BIASED: dict[str, dict[str, tuple[str, ...]]] = {
    "ernie4_5_moe": {"use_bias": ("lm_head",)},
    "phimoe": {"attention_bias": _ATTENTION, "lm_head_bias": ("lm_head",)},
    "qwen3": {"attention_bias": _ATTENTION},
    "qwen3_moe": {"attention_bias": _ATTENTION},
    "starcoder2": {"use_bias": (*_ATTENTION, "c_fc", "c_proj")},
}
"""`model_type` → setting → names of the linear layers that have a bias if it is true."""


def use_named_biases(network: Any, config: Mapping[str, Any]) -> None:
    """Give linear layers of `network`, in place, a bias, or take it from them, as a normalised `config` says."""
    kind = str(config.get("model_type"))
    settings = _BIASED.get(kind)
    if settings is None:
        return
    full = completed(dict(config)) or config
    for setting, names in settings.items():
        said = full.get(setting)
        for path, module in network.named_modules():
            if isinstance(said, bool) and isinstance(module, nn.Linear) and path.rpartition(".")[2] in names:
                _set(module, said)


def _set(linear: Any, has_bias: bool) -> None:
    if has_bias and "bias" not in linear:
        linear.bias = mx.zeros((linear.weight.shape[0],))
    elif not has_bias:
        linear.pop("bias", None)
