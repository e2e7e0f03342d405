"""Tiny checkpoints of transformers' own families, for llama.cpp's converter; `gguf_families` holds them to the original."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from checkpoints import VOCAB
from gguf_families import FamilyCase
from gguf_tokenizers import (
    write_byte_fallback_tokenizer,
    write_gemma_tokenizer,
    write_glm_tokenizer,
    write_qwen2_tokenizer,
)

WINDOW = 16

EXPERTS: dict[str, Any] = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LOCAL_EXPERTS: dict[str, Any] = {"num_local_experts": 6, "num_experts_per_tok": 2}
GROUPED: dict[str, Any] = {
    "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
    "n_shared_experts": 1, "n_group": 2, "topk_group": 1, "routed_scaling_factor": 1.7,
}  # fmt: skip
LATENT: dict[str, Any] = {
    "kv_lora_rank": 32, "q_lora_rank": 24, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16,
    "num_key_value_heads": 4, "rms_norm_eps": 1e-6,
}  # fmt: skip
YARN: dict[str, Any] = {
    "rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 64,
    "beta_fast": 32.0, "beta_slow": 1.0,
}  # fmt: skip
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3", "rope_theta": 50_000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip


def alternating(layers: int, period: int = 2) -> list[str]:
    """Windows in all but every `period`-th layer."""
    return ["full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(layers)]


def rope(theta: float = 33_000.0, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **more}}


HALF = rope(10_000.0, partial_rotary_factor=0.5)
"""llama.cpp's converter of Phi 2 and StableLM writes no base, and means this one."""

write_prefixing_tokenizer = functools.partial(write_gemma_tokenizer, prefix=True)


def with_keys(**keys: Any) -> Callable[[Any, Path], None]:
    """Keys that published configs have, llama.cpp's converter asks for, and transformers 5 does not write."""

    def add(network: Any, directory: Path) -> None:
        path = directory / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    return add


CASES: dict[str, FamilyCase] = {
    "llama": FamilyCase("Llama", {"rope_parameters": LLAMA3, "attention_bias": True}),
    "llama-fused": FamilyCase("Llama", rope()),
    "mixtral": FamilyCase("Mixtral", {**LOCAL_EXPERTS, "sliding_window": None, **rope()}),
    "qwen2": FamilyCase("Qwen2", rope(), pre="qwen2", tokenizer=write_qwen2_tokenizer),
    "qwen3": FamilyCase("Qwen3", {"head_dim": 32, **rope()}),
    "qwen2moe": FamilyCase("Qwen2Moe", {**EXPERTS, "shared_expert_intermediate_size": 48, "norm_topk_prob": False, **rope()}
    ),
    "qwen3moe": FamilyCase("Qwen3Moe", {**EXPERTS, "head_dim": 16, "norm_topk_prob": True, **rope()}),
    "qwen3moe-fused": FamilyCase("Qwen3Moe",
        {**EXPERTS, "head_dim": 32, "norm_topk_prob": True, "tie_word_embeddings": True},
    ),
    "gpt-oss": FamilyCase("GptOss",
        {
            **LOCAL_EXPERTS, "head_dim": 16, "sliding_window": WINDOW, "num_hidden_layers": 4,
            "rope_parameters": {**YARN, "truncate": False},
        },
    ),
    "gemma3n": FamilyCase("Gemma3nText", network="Gemma3nForCausalLM", cached=True, settings=
        {
            "num_hidden_layers": 6, "head_dim": 16, "sliding_window": WINDOW, "layer_types": alternating(6, 3),
            "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCAB, "num_kv_shared_layers": 2,
            "activation_sparsity_pattern": [0.95, 0.95, 0.0, 0.5, 0.0, 0.0], "laurel_rank": 8,
            "intermediate_size": [96] * 6, "altup_coef_clip": 120.0,
        },
    ),
    "gemma4": FamilyCase("Gemma4Text", network="Gemma4ForCausalLM", settings=
        {
            "num_hidden_layers": 6, "head_dim": 16, "global_head_dim": 32, "num_kv_shared_layers": 0,
            "layer_types": alternating(6, 3), "sliding_window": WINDOW, "hidden_size_per_layer_input": 0,
            "attention_k_eq_v": True, "num_global_key_value_heads": 1, "use_double_wide_mlp": False,
        },
        tokenizer=write_byte_fallback_tokenizer,
    ),
    "gemma4-e": FamilyCase("Gemma4Text", network="Gemma4ForCausalLM", settings=
        {
            "num_hidden_layers": 6, "head_dim": 16, "global_head_dim": 32, "num_kv_shared_layers": 2,
            "layer_types": alternating(6), "sliding_window": WINDOW, "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": VOCAB, "use_double_wide_mlp": True,
        },
        tokenizer=write_byte_fallback_tokenizer,
    ),
    "gemma4-moe": FamilyCase("Gemma4Text", network="Gemma4ForCausalLM", settings=
        {
            "num_hidden_layers": 4, "head_dim": 16, "global_head_dim": 32, "num_kv_shared_layers": 0,
            "layer_types": alternating(4), "sliding_window": WINDOW, "hidden_size_per_layer_input": 0,
            "enable_moe_block": True, "num_experts": 6, "top_k_experts": 2, "moe_intermediate_size": 32,
            "use_double_wide_mlp": False,
        },
        tokenizer=write_byte_fallback_tokenizer,
    ),
    "glm4": FamilyCase(
        "Glm4",
        {"head_dim": 16, "attention_bias": True, **rope(partial_rotary_factor=0.5)},
        tokenizer=write_glm_tokenizer,
    ),
    "glm4moe": FamilyCase("Glm4Moe",
        {
            **GROUPED, "head_dim": 16, "use_qk_norm": True, "attention_bias": True, "num_nextn_predict_layers": 0,
            **rope(partial_rotary_factor=0.5),
        },
        tokenizer=write_glm_tokenizer,
    ),
    "deepseek2": FamilyCase("DeepseekV2",
        {
            **LATENT, **GROUPED, "topk_method": "group_limited_greedy",
            "rope_parameters": {**YARN, "mscale": 0.707, "mscale_all_dim": 0.707},
        },
    ),
    "deepseek2-v3": FamilyCase("DeepseekV3",
        {
            **LATENT, **GROUPED, "norm_topk_prob": True, "scoring_func": "sigmoid",
            "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
        },
    ),
    "granite": FamilyCase("Granite",
        {
            "embedding_multiplier": 3.0, "attention_multiplier": 0.3, "residual_multiplier": 0.6,
            "logits_scaling": 2.0, **rope(),
        },
    ),
    "granitemoe": FamilyCase("GraniteMoe",
        {
            **LOCAL_EXPERTS, "embedding_multiplier": 3.0, "attention_multiplier": 0.3, "residual_multiplier": 0.6,
            "logits_scaling": 2.0, **rope(),
        },
    ),
    "granitemoe-shared": FamilyCase(
        "GraniteMoeShared",
        {
            **LOCAL_EXPERTS, "shared_intermediate_size": 48, "embedding_multiplier": 3.0, "attention_multiplier": 0.3,
            "residual_multiplier": 0.6, "logits_scaling": 2.0, **rope(),
        },
    ),
    "olmo2": FamilyCase("Olmo2", rope()),
    "olmo3": FamilyCase("Olmo3",
        {"num_hidden_layers": 4, "sliding_window": WINDOW, "layer_types": alternating(4, 4), **rope()},
    ),
    "olmoe": FamilyCase("Olmoe", {"num_experts": 6, "num_experts_per_tok": 2, "norm_topk_prob": False, **rope()}),
    "llama4": FamilyCase("Llama4Text", network="Llama4ForCausalLM", settings=
        {
            **LOCAL_EXPERTS, "num_experts_per_tok": 1, "num_hidden_layers": 4, "head_dim": 16, "intermediate_size": 48,
            "intermediate_size_mlp": 96, "interleave_moe_layer_step": 2, "use_qk_norm": True,
            "no_rope_layers": [1, 1, 1, 0], "attention_chunk_size": 8192, "attn_temperature_tuning": True,
            "floor_scale": 8192, "attn_scale": 0.1, "rope_parameters": LLAMA3,
        },
    ),
    "gemma": FamilyCase("Gemma", {"head_dim": 32}, tokenizer=write_gemma_tokenizer),
    "phi2": FamilyCase("Phi", {"num_key_value_heads": 4, "intermediate_size": 256, **HALF}),
    "phi2-fused": FamilyCase(
        "Phi", {"num_key_value_heads": 4, "intermediate_size": 256, **HALF}
    ),
    "command-r": FamilyCase("Cohere", {"logit_scale": 0.5, **rope()}),
    "cohere2": FamilyCase(
        "Cohere2",
        {
            "num_hidden_layers": 4, "logit_scale": 0.5, "sliding_window": WINDOW, "layer_types": alternating(4, 4),
            "head_dim": 16, **rope(),
        },
        original=with_keys(rotary_pct=1.0),
    ),
    "exaone4": FamilyCase(
        "Exaone4",
        {
            "num_hidden_layers": 4, "sliding_window": WINDOW, "layer_types": alternating(4, 4), "head_dim": 16,
            "rope_parameters": LLAMA3,
        },
    ),
    "exaone4-whole": FamilyCase("Exaone4", {"sliding_window": None, "layer_types": ["full_attention"] * 3, **rope()}),
    "ernie4_5": FamilyCase("Ernie4_5", {"head_dim": 16, **rope()}, tokenizer=write_gemma_tokenizer),
    "ernie4_5-moe": FamilyCase(
        "Ernie4_5_Moe",
        {
            "moe_num_experts": 6, "moe_k": 2, "moe_intermediate_size": 32, "moe_num_shared_experts": 2,
            "moe_layer_start_index": 1, **rope(),
        },
        tokenizer=write_gemma_tokenizer,
    ),
    "hunyuan-dense": FamilyCase("HunYuanDenseV1", {"head_dim": 16, **rope()}),
    "seed_oss": FamilyCase("SeedOss", {"head_dim": 32, "attention_bias": True, **rope()}),
    "starcoder2": FamilyCase("Starcoder2", {"use_bias": True, "sliding_window": None, **rope()}),
    "stablelm": FamilyCase(
        "StableLm", {"use_qkv_bias": True, **rope(10_000.0, partial_rotary_factor=0.25)}
    ),
    "stablelm-parallel": FamilyCase(
        "StableLm",
        {"use_parallel_residual": True, **rope(10_000.0, partial_rotary_factor=0.25)},
    ),
    "nemotron": FamilyCase(
        "Nemotron", {"head_dim": 16, **rope(partial_rotary_factor=0.5)}, tokenizer=write_prefixing_tokenizer
    ),
    "apertus": FamilyCase("Apertus", {"rope_parameters": LLAMA3}),
    "dots1": FamilyCase(
        "Dots1", {**GROUPED, "norm_topk_prob": True, "layer_types": ["full_attention"] * 3, "head_dim": 16, **rope()}
    ),
    "minimax-m2": FamilyCase(
        "MiniMaxM2",
        {**LOCAL_EXPERTS, "intermediate_size": 32, "head_dim": 16, **rope(partial_rotary_factor=0.5)},
        original=with_keys(rotary_dim=8, scoring_func="sigmoid"),
    ),
    "afmoe": FamilyCase(
        "Afmoe",
        {
            "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "num_shared_experts": 1,
            "num_hidden_layers": 4, "num_dense_layers": 1, "head_dim": 16, "sliding_window": WINDOW,
            "route_scale": 1.7, "mup_enabled": True, **rope(),
        },
        original=with_keys(route_norm=True, score_func="sigmoid"),
    ),
    "smollm3": FamilyCase("SmolLM3", {"num_hidden_layers": 4, "no_rope_layers": [1, 1, 1, 0], **rope()}),
    "mistral3": FamilyCase(
        "Ministral3",
        {
            "head_dim": 16,
            "rope_parameters": {
                **YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    "gemma2": FamilyCase(
        "Gemma2",
        {
            "num_hidden_layers": 4, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW,
            "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0,
        },
        tokenizer=write_gemma_tokenizer,
    ),
    # The converter writes no period; llama.cpp means six.
    "gemma3": FamilyCase(
        "Gemma3Text",
        network="Gemma3ForCausalLM",
        tokens=290,
        settings={
            "num_hidden_layers": 6, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW,
            "layer_types": alternating(6, 6),
        },
    ),
    "phi3": FamilyCase(
        "Phi3",
        {
            "num_key_value_heads": 4, "sliding_window": None, "original_max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": [1.0 + i / 9 for i in range(8)],
                "long_factor": [1.5 + i for i in range(8)], "original_max_position_embeddings": 64,
            },
        },
        tokenizer=write_prefixing_tokenizer,
    ),
    "glm4moe-nextn": FamilyCase(
        "Glm4Moe", {**GROUPED, "head_dim": 16, "num_nextn_predict_layers": 1, **rope(partial_rotary_factor=0.5)},
        tokenizer=write_glm_tokenizer,
    ),
    "glm4.7-flash": FamilyCase(
        "Glm4MoeLite",
        {**LATENT, **GROUPED, "norm_topk_prob": True, "num_nextn_predict_layers": 0, "rms_norm_eps": 1e-6, **rope()},
        tokenizer=write_glm_tokenizer,
        original=with_keys(scoring_func="sigmoid"),
    ),
}  # fmt: skip

OPTIONS = {"llama-fused": ("--fuse-qkv",), "qwen3moe-fused": ("--fuse-qkv",), "phi2-fused": ("--fuse-qkv",)}
"""Flags of the converter."""
