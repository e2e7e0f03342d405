"""Families whose layers are attention and one feed-forward network."""

from __future__ import annotations

from proving.case import DROP, LINEAR, LLAMA3, NESTED_ROPE, VOCAB, WINDOW, YARN, Family, longrope, rope

PARTLY = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}
GEMMA = {"head_dim": 16, "bos_token_id": 2, "pad_token_id": 0}
TWO_BASES = {
    "sliding_attention": rope(theta=7_000.0),
    "full_attention": rope(theta=300_000.0),
}
ALTERNATING = ["sliding_attention", "full_attention"]

GEMMA4 = {
    **GEMMA, "global_head_dim": 32, "num_hidden_layers": 6, "layer_types": ALTERNATING * 3, "sliding_window": WINDOW,
    "vocab_size_per_layer_input": VOCAB, "hidden_size_per_layer_input": 32, "num_kv_shared_layers": 2,
    "use_double_wide_mlp": True,
}  # fmt: skip
GEMMA3N = {
    **GEMMA, "num_hidden_layers": 5, "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 32,
    "vocab_size_per_layer_input": VOCAB, "laurel_rank": 8, "sliding_window": WINDOW, "altup_num_inputs": 2,
    "activation_sparsity_pattern": [0.5] * 2 + [0.0] * 3, "intermediate_size": [128] * 5,
    "layer_types": ["sliding_attention"] * 4 + ["full_attention"],
}  # fmt: skip

SHARED = {
    "num_kv_shared_layers": 2,
    "layer_types": ["sliding_attention", "full_attention", *["sliding_attention"] * 2, "full_attention"],
}

DENSE: dict[str, Family] = {
    "llama": Family(
        {"rope_parameters": rope(theta=77_000.0)},
        {
            "llama3": {"rope_parameters": LLAMA3, "tie_word_embeddings": True},
            "linear": {"rope_parameters": LINEAR},
            "yarn": {"rope_parameters": {**YARN, "truncate": False}},
            "yarn, its own attention factor": {"rope_parameters": {**YARN, "attention_factor": 1.3}},
            "longrope": {"rope_parameters": longrope(8)},
            "biases": {"attention_bias": True, "mlp_bias": True},
            "gelu": {"hidden_act": "gelu"},
            "tanh gelu": {"hidden_act": "gelu_pytorch_tanh"},
            "wide heads": {"head_dim": 32},
            "partial rotation": {"rope_parameters": rope(partial_rotary_factor=0.5)},
        },
    ),
    "iquestcoder": Family({"rope_parameters": rope()}),
    "mistral": Family(
        {"head_dim": 16, "sliding_window": None, "rope_parameters": rope()},
        {
            "window": {"sliding_window": WINDOW},
            "yarn": {"rope_parameters": YARN},
            "tied": {"tie_word_embeddings": True},
        },
    ),
    "ministral3": Family(
        {
            "head_dim": 16,
            "rope_parameters": {
                **YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1, "max_position_embeddings": 256,
            },
        },
        {"tied": {"tie_word_embeddings": True}, "window": {"sliding_window": WINDOW}},
        NESTED_ROPE,
    ),
    "qwen2": Family(
        {"rope_parameters": rope(theta=33_000.0)},
        {
            "tied": {"tie_word_embeddings": True},
            "window": PARTLY,
            "yarn": {"rope_parameters": {**YARN, "mscale": 0.7}},
            "yarn as Qwen says it": {"rope_parameters": rope("yarn", factor=4.0, original_max_position_embeddings=64)},
        },
    ),
    "qwen3": Family(
        {"head_dim": 32, "rope_parameters": rope()},
        {
            "tied": {"tie_word_embeddings": True},
            "window": PARTLY,
            "yarn": {"rope_parameters": {**YARN, "attention_factor": 1.3}},
            "biases": {"attention_bias": True},
        },
    ),
    "gemma": Family({**GEMMA, "rope_parameters": rope()}, {"silu": {"hidden_act": "silu"}}),
    "gemma2": Family(
        {**GEMMA, "query_pre_attn_scalar": 16, "sliding_window": WINDOW, "rope_parameters": rope()},
        {
            "long window": {"sliding_window": 256},
            "no caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None},
        },
        {"layer_types": DROP},
    ),
    "gemma3_text": Family(
        {
            **GEMMA, "query_pre_attn_scalar": 16, "num_hidden_layers": 6, "sliding_window": WINDOW,
            "rope_parameters": TWO_BASES,
        },
        {
            "other layers": {"layer_types": ALTERNATING * 3},
            "linear": {"rope_parameters": {**TWO_BASES, "full_attention": rope("linear", 300_000.0, factor=8.0)}},
        },
        {
            "layer_types": DROP, "sliding_window_pattern": 6, "rope_theta": 300_000.0, "rope_local_base_freq": 7_000.0,
            "rope_parameters": DROP,
        },
        {
            "other layers": {},
            "linear": {
                "layer_types": DROP, "sliding_window_pattern": 6, "rope_theta": 300_000.0, "rope_local_base_freq": 7_000.0,
                "rope_parameters": DROP, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
        },
    ),
    "gemma3n_text": Family(GEMMA3N, {"shared": SHARED}),
    "gemma4_text": Family(
        GEMMA4,
        {
            "nothing shared": {"num_kv_shared_layers": 0, "use_double_wide_mlp": False},
            "keys as values": {"attention_k_eq_v": True, "num_global_key_value_heads": 1},
            "experts": {
                "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32,
            },
        },
    ),
    "phi": Family(
        {"rope_parameters": rope(partial_rotary_factor=0.5), "num_key_value_heads": 4},
        {"qk norm": {"qk_layernorm": True}},
    ),
    "phi3": Family(
        {"rope_parameters": rope(partial_rotary_factor=1.0), "original_max_position_embeddings": 256},
        {
            "window": {"sliding_window": WINDOW},
            "partial": {"rope_parameters": rope(partial_rotary_factor=0.75)},
            "longrope": {"rope_parameters": longrope(8), "original_max_position_embeddings": 64},
            "longrope, short": {"rope_parameters": longrope(8, 128), "original_max_position_embeddings": 128},
            "longrope, partial": {
                "rope_parameters": {**longrope(6), "partial_rotary_factor": 0.75}, "original_max_position_embeddings": 64,
            },
            "tied": {"tie_word_embeddings": True},
        },
    ),
    "starcoder2": Family(
        {"rope_parameters": rope()},
        {
            "window": {"sliding_window": WINDOW},
            "untied": {"tie_word_embeddings": False},
            "no biases": {"use_bias": False},
        },
    ),
    "cohere": Family({"rope_parameters": rope(), "logit_scale": 0.0625}, {"qk norm": {"use_qk_norm": True}}),
    "cohere2": Family(
        {"rope_parameters": rope(), "num_hidden_layers": 4, "sliding_window": WINDOW, "head_dim": 16},
        {},
        {"layer_types": DROP, "sliding_window_pattern": 4, "rotary_pct": 1.0},
    ),
    "olmo": Family({"rope_parameters": rope()}, {"clipped": {"clip_qkv": 0.5}}),
    "olmo2": Family({"rope_parameters": rope()}, {"biases": {"attention_bias": True}}),
    "olmo3": Family(
        {"num_hidden_layers": 4, "sliding_window": WINDOW, "rope_parameters": rope(theta=500_000.0)},
        {
            "yarn": {
                "rope_parameters": {
                    "sliding_attention": rope(theta=60_000.0), "full_attention": {**YARN, "attention_factor": 1.2},
                },
            },
        },
    ),
    "granite": Family(
        {
            "embedding_multiplier": 3.0, "logits_scaling": 2.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2,
            "rope_parameters": rope(),
        },
        {"biases": {"attention_bias": True, "mlp_bias": True}, "tied": {"tie_word_embeddings": True}},
    ),
    "glm": Family({"head_dim": 16, "rope_parameters": rope(partial_rotary_factor=0.5)}),
    "glm4": Family(
        {"head_dim": 16, "rope_parameters": rope(partial_rotary_factor=0.5)}, {"no biases": {"attention_bias": False}}
    ),
    "gpt2": Family(
        {},
        {
            "narrow": {"n_inner": 96},
            "exact gelu": {"activation_function": "gelu"},
            "scaled by layer": {"scale_attn_by_inverse_layer_idx": True},
        },
        {"n_ctx": 256},
    ),
    "gpt_bigcode": Family({}, {"many queries": {"multi_query": False}}),
    "gpt_neox": Family(
        {"intermediate_size": 256, "rope_parameters": rope(theta=20_000.0, partial_rotary_factor=0.5)},
        {"in turn": {"use_parallel_residual": False}, "narrow": {"intermediate_size": 128}},
        {"rotary_emb_base": 20_000.0, "rotary_pct": 0.5, "rope_theta": DROP, "partial_rotary_factor": DROP},
    ),
    "gptj": Family({"rotary_dim": 8}),
    "helium": Family({"head_dim": 16, "rope_parameters": rope()}),
    "hunyuan_v1_dense": Family(
        {"head_dim": 16, "rope_parameters": rope()},
        {
            "dynamic": {"rope_parameters": rope("dynamic", alpha=50.0, factor=1.0)},
            "tied": {"tie_word_embeddings": True},
        },
    ),
    "internlm3": Family({"head_dim": 16, "rope_parameters": rope()}, {"biases": {"attention_bias": True, "mlp_bias": True}}),
    "nanochat": Family({"rope_parameters": rope()}),
    "nemotron": Family(
        {"head_dim": 16, "rope_parameters": rope(partial_rotary_factor=0.5)}, {"biases": {"attention_bias": True}}
    ),
    "seed_oss": Family({"head_dim": 16, "rope_parameters": rope()}, {"no biases": {"attention_bias": False}}),
    "smollm3": Family(
        {"no_rope_layers": [1, 0, 1], "rope_parameters": rope()},
        {
            "window": {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": None},
            "untied": {"tie_word_embeddings": False},
        },
    ),
    "stablelm": Family(
        {"rope_parameters": rope(partial_rotary_factor=0.25)},
        {
            "qk norm": {"qk_layernorm": True},
            "biases, in parallel": {"use_qkv_bias": True, "use_parallel_residual": True},
        },
    ),
    "apertus": Family(
        {"rope_parameters": LLAMA3}, {"plain rope": {"rope_parameters": rope()}},
        published_variants={"plain rope": {"rope_parameters": rope()}},
    ),
    "bitnet": Family({"rope_parameters": rope()}, {"tied": {"tie_word_embeddings": True}}),
    "ernie4_5": Family({"head_dim": 16, "rope_parameters": rope()}, {"biases": {"use_bias": True}}),
    "exaone": Family({"head_dim": 16, "rope_parameters": rope()}, {"llama3": {"rope_parameters": LLAMA3}}),
    "exaone4": Family(
        {"num_hidden_layers": 4, "sliding_window": WINDOW, "rope_parameters": LLAMA3, "head_dim": 16},
        {"full": {"sliding_window": None, "layer_types": ["full_attention"] * 4}},
        {"sliding_window_pattern": "LLLG"},
    ),
}  # fmt: skip
