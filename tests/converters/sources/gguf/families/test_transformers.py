"""Files that llama.cpp's own converter writes: converted, they compute what transformers computes of the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checkpoints import VOCAB
from gguf_families import FamilyCase, check_family
from gguf_tokenizers import write_byte_fallback_tokenizer, write_glm_tokenizer, write_qwen2_tokenizer
from llama_cpp_converter import LlamaCppConverter

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
    "gemma3n": FamilyCase("Gemma3nText", network="Gemma3nForCausalLM", settings=
        {
            "num_hidden_layers": 6, "head_dim": 16, "sliding_window": WINDOW, "layer_types": alternating(6, 3),
            "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCAB, "num_kv_shared_layers": 0,
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
}  # fmt: skip


OPTIONS = {"llama-fused": ("--fuse-qkv",), "qwen3moe-fused": ("--fuse-qkv",)}
"""Flags of the converter."""


@pytest.mark.parity
@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_logits_and_tokens_are_those_of_the_original(
    name: str, llama_cpp: LlamaCppConverter, tmp_path: Path
) -> None:
    check_family(CASES[name], llama_cpp, tmp_path, *OPTIONS.get(name, ()))
