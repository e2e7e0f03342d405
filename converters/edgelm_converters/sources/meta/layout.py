"""Meta's LLaMA tensors: their names, how they are cut over model-parallel shards, and their rows.

Sources: `convert_llama_weights_to_hf.py` of transformers (commit 01cc9cd9); the fairscale layers that
Meta's models are built from (ColumnParallelLinear cuts rows of the weight, RowParallelLinear columns).
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

ROWS, COLUMNS = 0, 1

# D head dim, H heads, E width of the model

_IN_LAYER = {
    "attention.wq.weight": ("self_attn.q_proj.weight", ROWS),
    "attention.wk.weight": ("self_attn.k_proj.weight", ROWS),
    "attention.wv.weight": ("self_attn.v_proj.weight", ROWS),
    "attention.wo.weight": ("self_attn.o_proj.weight", COLUMNS),
    "feed_forward.w1.weight": ("mlp.gate_proj.weight", ROWS),
    "feed_forward.w2.weight": ("mlp.down_proj.weight", COLUMNS),
    "feed_forward.w3.weight": ("mlp.up_proj.weight", ROWS),
    "attention_norm.weight": ("input_layernorm.weight", None),
    "ffn_norm.weight": ("post_attention_layernorm.weight", None),
}
_OUTSIDE = {
    # Cut along the width by Llama 1 and 2, along the vocabulary by Llama 3: told from the shapes.
    "tok_embeddings.weight": ("model.embed_tokens.weight", COLUMNS),
    "norm.weight": ("model.norm.weight", None),
    "output.weight": ("lm_head.weight", ROWS),
}
IGNORED = frozenset({"rope.freqs"})
"""Computed from the config."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor of Meta's belongs."""

    name: str
    """The name that transformers publishes."""
    cut: int | None
    """The axis along which shards hold parts of it; None where each holds all of it."""
    part: str = ""
    """Its name within the layer."""


def places(layer_count: int) -> dict[str, Place]:
    """List the place of every tensor of a Llama, by Meta's name."""
    all_places = {name: Place(*place) for name, place in _OUTSIDE.items()}
    for layer in range(layer_count):
        for part, (name, cut) in _IN_LAYER.items():
            all_places[f"layers.{layer}.{part}"] = Place(f"model.layers.{layer}.{name}", cut, part)
    return all_places


def split_halves(weight: mx.array, head_count: int) -> mx.array:
    """Take rows of a query or key projection from Meta's order to that of transformers, [H*D, E] to [H*D, E].

    Meta rotates neighbouring rows (2i, 2i + 1) of a head together, transformers rows (i, i + D/2).
    """
    rows, width = weight.shape
    pairs = weight.reshape(head_count, rows // head_count // 2, 2, width)
    return pairs.swapaxes(1, 2).reshape(rows, width)
