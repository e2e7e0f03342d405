"""DeepSeek's sparse attention: the epsilon of its indexer's norm, and layers that take an earlier layer's choice (GLM-5).

Upstream: mlx_lm 0.32.2, models/deepseek_v32.py: `Indexer.k_norm` has MLX's epsilon, 1e-5, and every layer has an indexer. Who
is right: DeepSeek's own code normalises with 1e-6 (deepseek-ai/DeepSeek-V3.2-Exp, inference/model.py, `LayerNorm`). Where
several keys score exactly zero, each library may take another one. Source: transformers 5.24, modeling_deepseek_v32.py
`DeepseekV32Indexer`, modeling_glm_moe_dsa.py `GlmMoeDsaAttention` (cross-layer index sharing, arXiv 2603.12201).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx

from edgelm.errors import UnsupportedError
from edgelm.zoo.configs.defaults import completed
from edgelm.zoo.fixes.classes import derived

_EPSILON = 1e-6


def use_indexers(network: Any, config: Mapping[str, Any]) -> None:
    """Make the indexers of `network`, in place, as a normalised `config` and their authors have them."""
    kind = config.get("model_type")
    if kind not in ("deepseek_v32", "glm_moe_dsa"):
        return
    for layer in network.layers:
        layer.self_attn.indexer.k_norm.eps = _EPSILON
    modes = config.get("indexer_types") or completed(dict(config)).get("indexer_types")
    if isinstance(modes, list) and "shared" in modes:
        _share(network.layers, modes)


def _share(layers: Any, modes: list[str]) -> None:
    last: _Choice | None = None
    for layer, mode in zip(layers, modes, strict=True):
        attention = layer.self_attn
        if mode != "shared":
            last = _Choice()
            attention.indexer._choice = last
            attention.indexer.__class__ = derived(
                type(attention.indexer), __call__=_remembering(attention.indexer)
            )
        elif last is not None:
            attention.indexer = _Shared(last)


class _Choice:
    """What the last layer that chose has chosen, within one call of the network."""

    indices: mx.array | None = None
    mask: Any = None
    """The mask that came with them: layers of one call share it."""


def _remembering(indexer: Any) -> Any:
    call = type(indexer).__call__

    def chosen(self: Any, x: mx.array, qr: mx.array, mask: Any, cache: Any = None) -> mx.array | None:
        self._choice.indices, self._choice.mask = call(self, x, qr, mask, cache=cache), mask
        found: mx.array | None = self._choice.indices
        return found

    return chosen


class _Shared:
    """In place of a layer's indexer: no weights, and the choice of the layer before."""

    def __init__(self, choice: _Choice) -> None:
        self._choice = choice

    def __call__(self, x: mx.array, qr: mx.array, mask: Any, cache: Any = None) -> mx.array | None:
        if cache is not None:  # the attention waits for the indexer's keys
            nothing = mx.zeros((x.shape[0], 1, x.shape[1], 1), x.dtype)
            cache.update_and_fetch(nothing, nothing)
        if self._choice.indices is not None and self._choice.mask is not mask:
            raise UnsupportedError(
                "layers that share their choice of keys cannot run one at a time over texts longer than index_topk",
                hint="calibrate with shorter texts",
            )
        return self._choice.indices
