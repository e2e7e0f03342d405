"""GGUF tensor names → transformers names, shapes and what llama.cpp did to the values.

One table per architecture; a name that is in no table is refused. Knows no metadata and reads no data.
Names: llama.cpp gguf-py/gguf/tensor_mapping.py; changes to values: convert_hf_to_gguf.py, modify_tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Shape = tuple[str, ...]
Table = Mapping[str, tuple[str, Shape]]

BLOCK_NAME = re.compile(r"blk\.(?P<layer>0|[1-9][0-9]{0,4})\.(?P<rest>.+)")
IGNORED = re.compile(
    r"rope_freqs\.weight|rope_factors_(long|short)\.weight|blk\.\d+\.(rope_freqs|attn_rot_embd)\.weight"
)
"""Tables that a model computes for itself; the ones that change its values are read with the config."""

OUTER: Table = {
    "token_embd.weight": ("model.embed_tokens.weight", ("vocab", "hidden")),
    "output_norm.weight": ("model.norm.weight", ("hidden",)),
}
HEAD: Table = {"output.weight": ("lm_head.weight", ("vocab", "hidden"))}
ATTENTION: Table = {
    "attn_q.weight": ("self_attn.q_proj.weight", ("q", "hidden")),
    "attn_k.weight": ("self_attn.k_proj.weight", ("kv", "hidden")),
    "attn_v.weight": ("self_attn.v_proj.weight", ("kv", "hidden")),
}
ATTENTION_BIAS: Table = {
    "attn_q.bias": ("self_attn.q_proj.bias", ("q",)),
    "attn_k.bias": ("self_attn.k_proj.bias", ("kv",)),
    "attn_v.bias": ("self_attn.v_proj.bias", ("kv",)),
}
LLAMA_BIAS: Table = {
    **ATTENTION_BIAS,
    "attn_output.bias": ("self_attn.o_proj.bias", ("hidden",)),
    "ffn_gate.bias": ("mlp.gate_proj.bias", ("feed_forward",)),
    "ffn_up.bias": ("mlp.up_proj.bias", ("feed_forward",)),
    "ffn_down.bias": ("mlp.down_proj.bias", ("hidden",)),
}
ATTENTION_NORMS: Table = {
    "attn_q_norm.weight": ("self_attn.q_norm.weight", ("head",)),
    "attn_k_norm.weight": ("self_attn.k_norm.weight", ("head",)),
}
COMMON: Table = {
    "attn_norm.weight": ("input_layernorm.weight", ("hidden",)),
    "attn_output.weight": ("self_attn.o_proj.weight", ("hidden", "q")),
    "ffn_down.weight": ("mlp.down_proj.weight", ("hidden", "feed_forward")),
}
FEED_FORWARD: Table = {
    "ffn_gate.weight": ("mlp.gate_proj.weight", ("feed_forward", "hidden")),
    "ffn_up.weight": ("mlp.up_proj.weight", ("feed_forward", "hidden")),
}
TWO_NORMS: Table = {"ffn_norm.weight": ("post_attention_layernorm.weight", ("hidden",))}
FOUR_NORMS: Table = {
    "post_attention_norm.weight": ("post_attention_layernorm.weight", ("hidden",)),
    "ffn_norm.weight": ("pre_feedforward_layernorm.weight", ("hidden",)),
    "post_ffw_norm.weight": ("post_feedforward_layernorm.weight", ("hidden",)),
}
FUSED: Table = {
    "attn_qkv.weight": ("self_attn.qkv_proj.weight", ("qkv", "hidden")),
    "ffn_up.weight": ("mlp.gate_up_proj.weight", ("gate_up", "hidden")),
}
LLAMA_BLOCK: Table = {**COMMON, **ATTENTION, **LLAMA_BIAS, **FEED_FORWARD, **TWO_NORMS}
QWEN2_BLOCK: Table = {**COMMON, **ATTENTION, **ATTENTION_BIAS, **FEED_FORWARD, **TWO_NORMS}
QWEN3_BLOCK: Table = {**COMMON, **ATTENTION, **ATTENTION_NORMS, **FEED_FORWARD, **TWO_NORMS}
GEMMA2_BLOCK: Table = {**COMMON, **ATTENTION, **FEED_FORWARD, **FOUR_NORMS}


@dataclass(frozen=True, slots=True)
class Architecture:
    """What transformers calls it, what its tensors are called, and how llama.cpp changed them."""

    model_type: str
    class_name: str
    outer: Table
    block: Table
    permuted: bool = False
    """Rows of q and k are interleaved for llama.cpp's pairwise rotation."""
    norm_offset: float = 0.0
    """What llama.cpp added to the norms (Gemma's norms multiply by 1 + weight)."""


ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture("llama", "LlamaForCausalLM", {**OUTER, **HEAD}, LLAMA_BLOCK, permuted=True),
    "smollm3": Architecture("smollm3", "SmolLM3ForCausalLM", {**OUTER, **HEAD}, LLAMA_BLOCK, permuted=True),
    "mistral3": Architecture(
        "ministral3", "Ministral3ForCausalLM", {**OUTER, **HEAD}, LLAMA_BLOCK, permuted=True
    ),
    "qwen2": Architecture("qwen2", "Qwen2ForCausalLM", {**OUTER, **HEAD}, QWEN2_BLOCK),
    "qwen3": Architecture("qwen3", "Qwen3ForCausalLM", {**OUTER, **HEAD}, QWEN3_BLOCK),
    "gemma2": Architecture("gemma2", "Gemma2ForCausalLM", OUTER, GEMMA2_BLOCK, norm_offset=1.0),
    "gemma3": Architecture(
        "gemma3_text",
        "Gemma3ForCausalLM",
        {**OUTER, **HEAD},
        {**GEMMA2_BLOCK, **ATTENTION_NORMS},
        norm_offset=1.0,
    ),
    "phi3": Architecture("phi3", "Phi3ForCausalLM", {**OUTER, **HEAD}, {**COMMON, **FUSED, **TWO_NORMS}),
}


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Sizes of a network, from the metadata."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head: int
    vocab: int

    def length(self, name: str) -> int:
        """Return the length that a table calls `name`."""
        q, kv = self.heads * self.head, self.kv_heads * self.head
        derived = {"q": q, "kv": kv, "qkv": q + 2 * kv, "gate_up": 2 * self.feed_forward}
        return derived[name] if name in derived else int(getattr(self, name))


@dataclass(frozen=True, slots=True)
class Target:
    """Where a stored tensor goes."""

    name: str
    shape: tuple[int, ...]
    heads: int = 0
    """Heads whose rows are to be un-permuted; 0 for none."""
    offset: float = 0.0
    """To be subtracted from every value."""


def target_of(name: str, architecture: Architecture, dimensions: Dimensions) -> Target | None:
    """Find where the GGUF tensor `name` goes; None if the architecture has no such tensor."""
    match = BLOCK_NAME.fullmatch(name)
    table, key = (architecture.block, match["rest"]) if match else (architecture.outer, name)
    if key not in table or (match and int(match["layer"]) >= dimensions.layers):
        return None
    inner, lengths = table[key]
    prefix = f"model.layers.{int(match['layer'])}." if match else ""
    shape = tuple(dimensions.length(length) for length in lengths)
    offset = architecture.norm_offset if key.endswith("norm.weight") else 0.0
    return Target(prefix + inner, shape, _permuted_heads(key, architecture, dimensions), offset)


def _permuted_heads(key: str, architecture: Architecture, dimensions: Dimensions) -> int:
    by_module = {"attn_q": dimensions.heads, "attn_k": dimensions.kv_heads}
    return by_module.get(key.rpartition(".")[0], 0) if architecture.permuted else 0
