"""Attention and heads as the config names them: GPTBigCode with keys for every head, Gemma 2 without caps, gates by element.

Upstream: mlx_lm 0.32.2. models/gpt_bigcode.py takes `c_attn` for all queries, then all keys, then all values; with
`multi_query` false they lie head by head. models/gemma2.py divides by `attn_logit_softcapping` and `final_logit_softcapping`,
which fine-tunes set to null. Source: transformers 5.24, modeling_gpt_bigcode.py, modeling_gemma2.py.

Shapes: B sequences, T tokens, H heads, D head dim, C hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgelm.zoo.fixes.classes import derived


def use_named_attention(network: Any, config: Mapping[str, Any]) -> None:
    """Make the attention of `network`, in place, that of a normalised `config`."""
    kind = config.get("model_type")
    if kind == "gpt_bigcode" and config.get("multi_query") is False:
        for layer in network.layers:
            layer.attn.__class__ = derived(type(layer.attn), __call__=_by_head)
    elif kind == "gemma2":
        if "attn_logit_softcapping" in config and not config["attn_logit_softcapping"]:
            for layer in network.layers:
                layer.self_attn.__class__ = derived(type(layer.self_attn), __call__=_uncapped)
        if "final_logit_softcapping" in config and not config["final_logit_softcapping"]:
            network.__class__ = derived(type(network), __call__=_uncapped_logits)

    elif kind == "minicpm3" and network.args.tie_word_embeddings:
        network.__class__ = derived(type(network), __call__=_tied_logits)
    elif kind == "laguna" and config.get("gating") not in (True, "per-head", False, None):
        for layer in network.layers:
            attention = layer.self_attn
            attention.g_proj = nn.Linear(
                network.args.hidden_size, attention.n_heads * attention.head_dim, bias=False
            )
            attention.__class__ = derived(type(attention), __call__=_gated_by_element)


def _tied_logits(self: Any, inputs: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
    """[B, T, V] of token ids [B, T]: the hidden state is divided before a tied head as before one of its own."""
    hidden = self.model(inputs, mask, cache) / (self.args.hidden_size / self.args.dim_model_base)
    logits: mx.array = self.model.embed_tokens.as_linear(hidden)
    return logits


def _gated_by_element(self: Any, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
    """[B, T, C] of [B, T, C]."""
    from mlx_lm.models.base import scaled_dot_product_attention

    def heads(projected: mx.array, count: int) -> mx.array:
        return projected.reshape(*x.shape[:2], count, -1)

    offset = 0 if cache is None else cache.offset
    queries = self.q_norm(heads(self.q_proj(x), self.n_heads)).transpose(0, 2, 1, 3)
    keys = self.k_norm(heads(self.k_proj(x), self.n_kv_heads)).transpose(0, 2, 1, 3)
    values = heads(self.v_proj(x), self.n_kv_heads).transpose(0, 2, 1, 3)
    queries, keys = self.rope(queries, offset=offset), self.rope(keys, offset=offset)
    if cache is not None:
        keys, values = cache.update_and_fetch(keys, values)
    found = scaled_dot_product_attention(queries, keys, values, cache=cache, scale=self.scale, mask=mask)
    gate = nn.softplus(self.g_proj(x).astype(mx.float32)).astype(found.dtype)
    together: mx.array = self.o_proj(found.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1) * gate)
    return together


def _by_head(self: Any, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
    """[B, T, C] of [B, T, C]; each head's query, key and value lie side by side."""
    from mlx_lm.models.base import scaled_dot_product_attention

    heads = self.c_attn(x).reshape(*x.shape[:2], self.n_heads, -1).transpose(0, 2, 1, 3)
    queries, keys, values = mx.split(heads, 3, axis=-1)
    if cache is not None:
        keys, values = cache.update_and_fetch(keys, values)
    found = scaled_dot_product_attention(queries, keys, values, cache=cache, scale=self.scale, mask=mask)
    together: mx.array = self.c_proj(found.transpose(0, 2, 1, 3).reshape(*x.shape))
    return together


def _uncapped(self: Any, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
    """[B, T, C] of [B, T, C]."""
    from mlx_lm.models.base import scaled_dot_product_attention

    def heads(projected: mx.array, count: int) -> mx.array:
        return projected.reshape(*x.shape[:2], count, -1).transpose(0, 2, 1, 3)

    offset = 0 if cache is None else cache.offset
    queries = self.rope(heads(self.q_proj(x), self.n_heads), offset=offset)
    keys, values = (
        self.rope(heads(self.k_proj(x), self.n_kv_heads), offset=offset),
        heads(self.v_proj(x), self.n_kv_heads),
    )
    if cache is not None:
        keys, values = cache.update_and_fetch(keys, values)
    found = scaled_dot_product_attention(queries, keys, values, cache=cache, scale=self.scale, mask=mask)
    together: mx.array = self.o_proj(found.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1))
    return together


def _uncapped_logits(self: Any, inputs: mx.array, cache: Any = None) -> mx.array:
    """[B, T, V] of token ids [B, T]."""
    logits: mx.array = self.model.embed_tokens.as_linear(self.model(inputs, cache))
    return logits
