"""Gemma 3n's layers that have no keys of their own, also where nothing is cached: in comparisons and in training.

Upstream: mlx_lm 0.32.2, models/gemma3n.py: a layer that shares takes the keys and values out of the cache of the last layer
that has its own; without a cache it computes some from projections that transformers does not have. Source: transformers
5.24, modeling_gemma3n.py, `Gemma3nTextAttention`, `shared_kv_states`.

Shapes: B sequences, H heads, T positions, D head dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx

from edgelm.zoo.fixes.classes import derived


def use_shared_keys(network: Any, config: Mapping[str, Any]) -> None:
    """Make a Gemma 3n `network`, in place, share keys and values within a call that has no cache."""
    if config.get("model_type") != "gemma3n":
        return
    for _, module in network.named_modules():
        if "layer_idx_to_cache_idx" in module:
            module.__class__ = derived(type(module), __call__=_passing_on(type(module).__call__))


def _passing_on(call: Any) -> Any:
    def with_keys(self: Any, inputs: Any = None, cache: Any = None, input_embeddings: Any = None) -> mx.array:
        within = [PassedKeys() for _ in self.layers] if cache is None else cache
        hidden: mx.array = call(self, inputs, cache=within, input_embeddings=input_embeddings)
        return hidden

    return with_keys


class PassedKeys:
    """One layer's keys and values [B, H, T, D] during one call, for the layers behind it."""

    offset = 0

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Take in what the layer computed, and give it back as it is."""
        self._held = keys, values
        return keys, values

    def keys_and_values(self) -> tuple[mx.array, mx.array]:
        """Return what the layer computed."""
        return self._held
