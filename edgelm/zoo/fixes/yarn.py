"""YaRN as transformers computes it, with what mlx-lm passes over: `truncate`, `attention_factor`, a lone `mscale`.

Upstream: mlx_lm 0.32.2, models/rope_utils.py, `YarnRoPE`. gpt-oss says `"truncate": false`; mlx-lm rounds the bounds of the
ramp all the same, and every angle between them is off. Source: transformers 5.24, modeling_rope_utils.py,
`_compute_yarn_parameters`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import mlx.core as mx

_PASSED_OVER = {"truncate", "attention_factor", "mscale", "mscale_all_dim"}


def use_named_yarn(network: Any, config: Mapping[str, Any]) -> None:
    """Set, in place, angles and scale of every YaRN of `network` as a normalised `config` says.

    Args:
        config: one whose `rope_scaling` is of another kind changes nothing; `rope_parameters` may be by type of layer.
    """
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config
    nested, kinds = part.get("rope_parameters"), part.get("layer_types")
    if isinstance(nested, dict) and isinstance(kinds, list) and any(kind in nested for kind in kinds):
        for layer, kind in zip(network.layers, kinds, strict=False):
            _put_right(layer, nested.get(kind), part)
    else:
        _put_right(network, part.get("rope_scaling") or nested, part)


def _put_right(module: Any, said: Any, part: Mapping[str, Any]) -> None:
    """Set every YaRN inside `module` as `said`."""
    if (
        not isinstance(said, dict)
        or said.get("rope_type", said.get("type")) != "yarn"
        or not said.get("factor")
    ):
        return
    if "original_max_position_embeddings" in said and not _PASSED_OVER & said.keys():
        return  # mlx-lm's own is right
    from mlx_lm.models.rope_utils import YarnRoPE

    base = float(said.get("rope_theta") or part.get("rope_theta") or 10_000.0)
    for _, found in module.named_modules():
        if type(found) is YarnRoPE:
            found.mscale = _attention_factor(said)
            found._freqs = _wavelengths(found.dims, base, said, part)


def _wavelengths(dims: int, base: float, said: Mapping[str, Any], part: Mapping[str, Any]) -> mx.array:
    """[dims / 2]: a position divided by these is the angle."""
    name = "original_max_position_embeddings"
    limit = said.get(name) or part.get(name) or part.get("max_position_embeddings") or 4096
    low = _dimension(said.get("beta_fast") or 32, dims, base, limit)
    high = _dimension(said.get("beta_slow") or 1, dims, base, limit)
    if said.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dims - 1)
    if low == high:
        high += 0.001
    ramp = mx.clip((mx.arange(dims // 2, dtype=mx.float32) - low) / (high - low), 0, 1)
    near = base ** (mx.arange(0, dims, 2, dtype=mx.float32) / dims)
    return 1 / (ramp / (float(said["factor"]) * near) + (1 - ramp) / near)


def _dimension(rotations: float, dims: int, base: float, limit: int) -> float:
    """The dimension that turns so often within the original context."""
    return dims * math.log(limit / (rotations * 2 * math.pi)) / (2 * math.log(base))


def _attention_factor(said: Mapping[str, Any]) -> float:
    if said.get("attention_factor") is not None:
        return float(said["attention_factor"])
    factor, one, other = float(said["factor"]), said.get("mscale"), said.get("mscale_all_dim")
    return _scale(factor, one) / _scale(factor, other) if one and other else _scale(factor, 1)


def _scale(factor: float, by: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * by * math.log(factor) + 1.0
