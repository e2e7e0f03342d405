"""ModelSettings of a config under llama.cpp's keys: what most families say.

More keys are offered than a family has; `agreement.py` keeps those that its reader asks for. Source: llama.cpp's
conversion/base.py (`set_gguf_parameters`) and gguf/constants.py (`Keys`).
"""

from __future__ import annotations

from typing import Any

from edgelm_converters.sources.gguf.families.family import GGUFFamily
from edgelm_converters.targets.gguf.metadata.settings import (
    CONTEXT,
    FEED_FORWARD,
    HEADS,
    HIDDEN,
    ModelSettings,
)

Offered = dict[str, Any]
GATES = {"softmax": 1, "sigmoid": 2}
"""gguf.constants.ExpertGatingFuncType."""

_INTEGERS: dict[str, tuple[str, ...]] = {
    "context_length": CONTEXT,
    "embedding_length": HIDDEN,
    "feed_forward_length": FEED_FORWARD,
    "vocab_size": ("vocab_size",),
    "expert_count": ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"),
    "expert_used_count": ("num_experts_per_tok", "num_experts_per_token", "moe_k", "top_k_experts"),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_shared_count": ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"),
    "expert_shared_feed_forward_length": (
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
    ),
    "expert_group_count": ("n_group",),
    "expert_group_used_count": ("topk_group",),
    "leading_dense_block_count": ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index"),
    "interleave_moe_layer_step": ("interleave_moe_layer_step", "moe_layer_interval"),
    "attention.sliding_window": ("sliding_window",),
    "attention.shared_kv_layers": ("num_kv_shared_layers",),
    "attention.q_lora_rank": ("q_lora_rank",),
    "attention.kv_lora_rank": ("kv_lora_rank",),
    "embedding_length_per_layer_input": ("hidden_size_per_layer_input",),
    "moe_latent_size": ("moe_latent_size",),
}
_NUMBERS: dict[str, tuple[str, ...]] = {
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "logit_scale": ("logit_scale", "logits_scaling"),
    "embedding_scale": ("embedding_multiplier", "scale_emb"),
    "residual_scale": ("residual_multiplier",),
    "attention.scale": ("attention_multiplier",),
    "expert_weights_scale": ("routed_scaling_factor", "route_scale"),
    "rope.freq_base_swa": ("rope_local_base_freq",),
}
_FLAGS: dict[str, tuple[str, ...]] = {
    "expert_weights_norm": ("norm_topk_prob", "route_norm"),
    "use_parallel_residual": ("use_parallel_residual",),
}


def offered_keys(settings: ModelSettings, family: GGUFFamily) -> Offered:
    """Return what a config says, by llama.cpp's keys without the architecture's name."""
    keys: Offered = {"block_count": settings.layers}
    keys |= {key: int(value) for key, names in _INTEGERS.items() if _is_size(value := settings.get(*names))}
    keys |= {key: value for key, names in _NUMBERS.items() if (value := settings.number(*names)) is not None}
    keys |= {key: bool(value) for key, names in _FLAGS.items() if (value := settings.get(*names)) is not None}
    epsilon = settings.number(family.norm[0])
    if epsilon is not None:
        keys[family.norm[1]] = epsilon
    gate = settings.get("scoring_func", "score_function", "score_func", "moe_router_activation_func")
    if gate in GATES:
        keys["expert_gating_func"] = GATES[gate]
    return keys | _attention(settings) | _latent(settings)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _attention(settings: ModelSettings) -> Offered:
    if settings.get(*HEADS) is None:
        return {}
    keys: Offered = {
        "attention.head_count": settings.heads,
        "attention.head_count_kv": settings.kv_heads,
        "attention.key_length": settings.head,
        "attention.value_length": settings.head,
        "rope.dimension_count": settings.rotated,
    }
    if settings.rope_base is not None:
        keys["rope.freq_base"] = settings.rope_base
    windows = settings.windows
    if windows is not None and any(windows):
        keys["attention.sliding_window_pattern"] = windows
    elif windows is not None or settings.get("use_sliding_window") is False:
        keys["attention.sliding_window"] = 0
    sections = settings.rope.get("mrope_section")
    if sections:
        keys["rope.dimension_sections"] = [*sections, 0, 0, 0, 0][:4]
    return keys


def _latent(settings: ModelSettings) -> Offered:
    """Attention from a compressed latent: llama.cpp's one head of keys is the latent and what is rotated."""
    rank, rotated = settings.get("kv_lora_rank"), settings.get("qk_rope_head_dim")
    if rank is None or rotated is None:
        return {}
    return {
        "attention.head_count_kv": 1,
        "attention.key_length": rank + rotated,
        "attention.value_length": rank,
        "attention.key_length_mla": settings.size("qk_nope_head_dim") + rotated,
        "attention.value_length_mla": settings.size("v_head_dim"),
        "rope.dimension_count": rotated,
    }
