"""Experts of groups that were left out stay out, also where the others' scores are negative.

Upstream: mlx_lm 0.32.2, `group_expert_select` of models/deepseek_v3.py, deepseek_v32.py, dots1.py, exaone_moe.py,
glm4_moe.py, glm4_moe_lite.py, kimi_linear.py, mimo_v2_flash.py and nemotron_h.py: a group that is left out gets the score 0,
and a correction bias can make every score of the kept groups negative, so experts answer that must not. Who is right:
DeepSeek's own code fills with -inf (deepseek-ai/DeepSeek-V3, inference/model.py, `Gate`), transformers 5.24 does, and so does
mlx-lm's own bailing_hybrid.py, which says why. Here the bias is lifted until no score is negative: the order of experts and
of groups, the sums of two each, stays what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx

from edgelm.errors import UnsupportedError
from edgelm.zoo.configs.defaults import completed
from edgelm.zoo.fixes.classes import derived

_BIAS = "e_score_correction_bias"
_ROUTED_WITHIN = ("afmoe", "kimi_linear")
_COUNTS = ("n_group", "num_expert_group")


def use_groups_of_experts(network: Any, config: Mapping[str, Any]) -> None:
    """Make the routers of `network`, in place, choose from the kept groups only, if a normalised `config` has groups."""
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config
    if not any(isinstance(part.get(name), int) and part[name] > 1 for name in _COUNTS):
        return
    for _, module in network.named_modules():
        if _BIAS in module:
            module.__class__ = derived(type(module), __call__=_lifted(type(module).__call__))


def use_weight_of_one(network: Any, config: Mapping[str, Any]) -> None:
    """Normalise the weight of a single expert, in place, where `norm_topk_prob` says so: it is one.

    Upstream: the same files, which normalise for two experts and more. Source: transformers 5.24, e.g. `DeepseekV3TopkRouter`.

    Raises:
        UnsupportedError: the architecture routes within its layer of experts.
    """
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config
    full = completed(dict(part)) or part
    if full.get("num_experts_per_tok") != 1 or not full.get("norm_topk_prob", full.get("route_norm")):
        return
    if config.get("model_type") in _ROUTED_WITHIN:
        raise UnsupportedError(
            f"mlx-lm's {config['model_type']} does not normalise the weight of a single expert"
        )
    for _, module in network.named_modules():
        if _BIAS in module and "norm_topk_prob" in vars(module):
            module.__class__ = derived(type(module), __call__=_summing_to_one(type(module).__call__))


def _summing_to_one(call: Any) -> Any:
    def routed(self: Any, x: mx.array) -> tuple[mx.array, mx.array]:
        chosen, weights = call(self, x)
        return chosen, mx.full(weights.shape, self.routed_scaling_factor, weights.dtype)

    return routed


def _lifted(call: Any) -> Any:
    def routed(self: Any, x: mx.array) -> Any:
        return call(_Lifted(self), x)

    return routed


class _Lifted:
    """A router that reads everything of `router` but its bias, which is lifted."""

    def __init__(self, router: Any) -> None:
        self._router = router
        bias = router[_BIAS]
        self.e_score_correction_bias = bias - mx.minimum(bias.min(), 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._router, name)
