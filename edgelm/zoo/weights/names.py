"""Names of tensors as mlx-lm's `sanitize` of an architecture knows them: those of its first release.

transformers 5 writes another prefix for some text models, and keeps other names in memory, which reach files by frameworks that
save a state as it is. Source: transformers 5.24, conversion_mapping.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgelm.zoo.weights.derive import T

_WRAPPED = (
    ("model.language_model.", "language_model.model."),
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("lm_head.", "language_model.lm_head."),
)
_PREFIXES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "gemma3": _WRAPPED,
    "gemma3n": (("language_model.model.", "model.language_model."),),
    "gpt2": (("transformer.", ""),),
    "kimi_k25": (
        ("language_model.model.blocks.", "language_model.model.layers."),
        ("model.mm_projector.", "mm_projector."),
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower."),
        ("lm_head.", "language_model.lm_head."),
    ),
    "lfm2-vl": (
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
    ),
    "minimax_m3_vl": _WRAPPED,
    "muse_glimmer": (
        ("model.vision_tower.", "vision_tower."),
        ("model.vision_adapter.", "vision_adapter."),
        ("model.vision_projection.", "vision_projection."),
    ),
    "pixtral": _WRAPPED,
}  # fmt: skip
"""mlx-lm's architecture → (prefix in the checkpoint, the one that is read)."""

_TEXT_HOMES: Mapping[str, str] = {
    "gemma3n": "model.language_model.",
    "llama4": "language_model.model.",
    "minimax_m3_vl": "language_model.model.",
    "muse_spark": "model.language_model.",
    "qwen3_vl_moe": "model.language_model.",
}
"""Wrapper → where its text model lies; published by itself, that is `model.`."""

_TEXT = re.compile(r"^model\.(?=layers\.|embed_tokens|norm\.|per_layer|altup|word_embeddings)")

_BLOCKS = (r"\.mlp\.", ".block_sparse_moe.")
_RENAMED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "mixtral": (_BLOCKS,),
    "minimax_m2": (_BLOCKS,),
    "phimoe": (_BLOCKS, (r"\.router\.weight$", ".gate.weight")),
    "granitemoe": (
        (r"\.block_sparse_moe\.experts\.gate_up_proj$", ".block_sparse_moe.input_linear.weight"),
        (r"\.block_sparse_moe\.experts\.down_proj$", ".block_sparse_moe.output_linear.weight"),
        (r"\.block_sparse_moe\.router\.weight$", ".block_sparse_moe.router.layer.weight"),
    ),
    "nemotron_h": (
        (r"^model\.", "backbone."),
    ),
    "exaone": (
        (r"^model\.embed_tokens\.", "transformer.wte."),
        (r"^model\.layers\.", "transformer.h."),
        (r"^model\.norm\.", "transformer.ln_f."),
        (r"\.self_attn\.o_proj\.", ".attn.attention.out_proj."),
        (r"\.self_attn\.", ".attn.attention."),
        (r"\.input_layernorm\.", ".ln_1."),
        (r"\.post_attention_layernorm\.", ".ln_2."),
        (r"\.mlp\.gate_proj\.", ".mlp.c_fc_0."),
        (r"\.mlp\.up_proj\.", ".mlp.c_fc_1."),
        (r"\.mlp\.down_proj\.", ".mlp.c_proj."),
    ),
    "bailing_moe_v3": (
        (r"^model\.embed_tokens\.", "model.word_embeddings."),
        (r"\.self_attn\.o_proj\.", ".attention.dense."),
        (r"\.self_attn\.(?:forget_gate\.)?", ".attention."),
        (r"\.mlp\.gate\.e_score_correction_bias$", ".mlp.gate.expert_bias"),
    ),
    "kimi_linear": (
        (r"\.forget_gate\.", "."),
        (r"\.block_sparse_moe\.(gate|up|down)_proj\.", r".mlp.\1_proj."),
        (r"\.mlp\.gate\.e_score_correction_bias$", ".mlp.e_score_correction_bias"),
    ),
    "laguna": ((r"\.mlp\.shared_experts\.", ".mlp.shared_expert."),),
    "mimo_v2_flash": ((r"\.self_attn\.sinks$", ".self_attn.attention_sink_bias"),),
    "minimax_m3_vl": (
        (r"\.mlp\.gate\.e_score_correction_bias$", ".block_sparse_moe.e_score_correction_bias"),
        (r"\.mlp\.(experts|gate|shared_experts)\.", r".block_sparse_moe.\1."),
        (r"\.self_attn\.indexer\.([qk])_", r".self_attn.index_\1_"),
    ),
    "nanochat": (
        (r"^model\.embed_tokens\.", "transformer.wte."),
        (r"^model\.layers\.", "transformer.h."),
        (r"\.self_attn\.([qkv])_proj\.", r".attn.c_\1."),
        (r"\.self_attn\.o_proj\.", ".attn.c_proj."),
        (r"\.mlp\.fc1\.", ".mlp.c_fc."),
        (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    ),
    "olmo_hybrid": (
        (r"\.attention_layer_norm\.", ".input_layernorm."),
        (r"\.feedforward_layer_norm\.", ".post_attention_layernorm."),
    ),
    "gpt_neox": ((r"^lm_head\.", "embed_out."),),
}  # fmt: skip
"""`model_type` → (pattern, what it is replaced by): names that transformers 5 keeps in memory."""

_RENAMED_LIKE = {"granitemoehybrid": "granitemoe"}


def renamed(kind: str, tensors: Mapping[str, T]) -> dict[str, T]:
    """Return `tensors` under the names that mlx-lm's architecture for a `model_type` reads."""
    prefixes, patterns = _PREFIXES.get(kind, ()), _RENAMED.get(_RENAMED_LIKE.get(kind, kind), ())
    home = _TEXT_HOMES.get(kind)
    if home is not None and not any("language_model." in name for name in tensors):
        head = home.removesuffix("model.") if home.startswith("language_model.") else ""
        tensors = {
            head + name if name.startswith("lm_head.") else _TEXT.sub(home, name, count=1): tensor
            for name, tensor in tensors.items()
        }
    return {_renamed(name, prefixes, patterns): tensor for name, tensor in tensors.items()}


def _renamed(name: str, prefixes: tuple[tuple[str, str], ...], patterns: tuple[tuple[str, str], ...]) -> str:
    for old, new in prefixes:
        if name.startswith(old):
            name = new + name.removeprefix(old)
            break
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name
