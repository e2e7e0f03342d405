"""Falcon-H1's multipliers, folded into its weights wherever transformers multiplies.

Upstream: mlx_lm 0.32.2, models/falcon_h1.py, `Model.sanitize`. It looks for `key_proj`, a name that no checkpoint has, so
keys lack `key_multiplier`; values lack `attention_in_multiplier`, and no bias is multiplied. What it folds is right and stays
its own code, so that stock mlx-lm computes the same from a converted model. `FalconH1RMSNormGated` normalises all groups as
one. Source: transformers 5.24, modeling_falcon_h1.py, `FalconH1Attention`, `FalconH1DecoderLayer`, `FalconH1MLP`,
`FalconH1RMSNormGated`; Falcon-H1 (arXiv 2507.22448), section 3.2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx

from edgelm.zoo.fixes.classes import derived
from edgelm.zoo.fixes.mixers.gated_norm import use_groups

_CONVOLUTION = "model.layers.0.mamba.conv1d.weight"


def use_all_multipliers(network: Any, config: Mapping[str, Any]) -> None:
    """Make `network`, in place, fold every multiplier of its config, and normalise by group."""
    if config.get("model_type") != "falcon_h1":
        return
    network.__class__ = derived(type(network), sanitize=_sanitize(type(network).sanitize))
    for layer in network.layers:
        if layer.mamba.mamba_rms_norm:
            use_groups(layer.mamba.norm, layer.mamba.n_groups)


def _sanitize(upstream: Any) -> Any:
    def sanitize(self: Any, weights: dict[str, mx.array]) -> dict[str, mx.array]:
        convolution = weights[_CONVOLUTION]
        if convolution.shape[-1] <= convolution.shape[1]:  # as mlx-lm writes it: folded already
            folded: dict[str, mx.array] = upstream(self, weights)
            return folded
        folded = upstream(self, weights)
        factors = _passed_over(self.args, self.model._mup_vector)
        for name, array in folded.items():
            factor = factors.get(".".join(name.split(".")[-2:]))
            if factor is not None:
                folded[name] = (array * factor).astype(array.dtype)
        return folded

    return sanitize


def _passed_over(args: Any, projected: mx.array) -> dict[str, Any]:
    """Last two parts of a name → what upstream does not multiply it by."""
    gate, down = args.mlp_multipliers
    return {
        "k_proj.weight": args.key_multiplier,
        "k_proj.bias": args.key_multiplier,
        "v_proj.weight": args.attention_in_multiplier,
        "o_proj.bias": args.attention_out_multiplier,
        "in_proj.bias": projected,
        "out_proj.bias": args.ssm_out_multiplier,
        "gate_proj.bias": gate,
        "down_proj.bias": down,
    }
