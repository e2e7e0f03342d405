"""Families whose feed-forward networks are experts."""

from __future__ import annotations

from proving.case import DROP, VOCAB, WINDOW, YARN, Family, rope

MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 1}
GROUPS = {"n_group": 4, "topk_group": 2}
TWO_BASES = {"full_attention": rope(theta=300_000.0), "sliding_attention": rope(theta=7_000.0)}
ALTERNATING = ["sliding_attention", "full_attention"] * 2
LLAMA4 = {
    "head_dim": 16, "num_hidden_layers": 4, "intermediate_size": 32, "intermediate_size_mlp": 64,
    "num_local_experts": 4, "num_experts_per_tok": 1, "attention_chunk_size": WINDOW, "rope_parameters": rope(),
}  # fmt: skip

EXPERTS: dict[str, Family] = {
    "mixtral": Family(
        {**LOCAL, "head_dim": 16, "rope_parameters": rope()},
        {"window": {"sliding_window": WINDOW}, "tied": {"tie_word_embeddings": True}},
        {"head_dim": DROP},
    ),
    "qwen2_moe": Family(
        {**MOE, "shared_expert_intermediate_size": 48, "rope_parameters": rope()},
        {
            "normalised": {"norm_topk_prob": True},
            "some dense": {"mlp_only_layers": [0], "decoder_sparse_step": 2},
            "window": {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
        },
    ),
    "qwen3_moe": Family(
        {**LOCAL, "moe_intermediate_size": 32, "head_dim": 16, "rope_parameters": rope(), "norm_topk_prob": True},
        {
            "not normalised": {"norm_topk_prob": False},
            "some dense": {"mlp_only_layers": [0]},
            "every other": {"decoder_sparse_step": 2},
            "window": {"use_sliding_window": True, "sliding_window": WINDOW},
            "yarn": {"rope_parameters": YARN},
            "tied": {"tie_word_embeddings": True},
        },
        {"num_local_experts": DROP, "num_experts": 4},
    ),
    "olmoe": Family(
        {"num_experts": 4, "num_experts_per_tok": 2, "rope_parameters": rope()},
        {"normalised": {"norm_topk_prob": True}, "clipped": {"clip_qkv": 0.5}},
    ),
    "phimoe": Family(
        {**LOCAL, "rope_parameters": rope(), "attention_bias": True, "lm_head_bias": True},
        {"no biases": {"attention_bias": False, "lm_head_bias": False}, "window": {"sliding_window": WINDOW}},
    ),
    "granitemoe": Family(
        {
            **LOCAL, "embedding_multiplier": 3.0, "logits_scaling": 2.0, "residual_multiplier": 0.5,
            "attention_multiplier": 0.2, "rope_parameters": rope(),
        },
        {"tied": {"tie_word_embeddings": True}},
    ),
    "gpt_oss": Family(
        {**LOCAL, "head_dim": 16, "sliding_window": WINDOW, "num_hidden_layers": 4, "rope_parameters": YARN},
        {
            "not truncated": {"rope_parameters": {**YARN, "truncate": False}},
            "plain rope": {"rope_parameters": rope()},
        },
        published_variants={"plain rope": {"rope_parameters": rope()}},
    ),
    "glm4_moe": Family(
        {**ROUTED, **GROUPS, "head_dim": 16, "rope_parameters": rope(partial_rotary_factor=0.5), "first_k_dense_replace": 1},
        {
            "qk norm": {"use_qk_norm": True},
            "biases, not normalised": {"attention_bias": True, "norm_topk_prob": False, "routed_scaling_factor": 1.5},
        },
        {"partial_rotary_factor": 0.5},
    ),
    "dots1": Family(
        {
            **ROUTED, "head_dim": 16, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "norm_topk_prob": True,
            "rope_parameters": rope(), "routed_scaling_factor": 2.5, "sliding_window": None,
            "layer_types": ["full_attention"] * 3,
        },
        {
            "window": {"sliding_window": WINDOW, "layer_types": None, "max_window_layers": 1},
            "groups": GROUPS,
            "not normalised": {"norm_topk_prob": False},
        },
    ),
    "ernie4_5_moe": Family(
        {
            "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 32, "moe_num_shared_experts": 1,
            "moe_layer_start_index": 1, "moe_layer_end_index": 2, "rope_parameters": rope(),
        },
        {"biases": {"use_bias": True}, "all experts": {"moe_layer_start_index": 0}},
    ),
    "afmoe": Family(
        {
            **MOE, "num_hidden_layers": 4, "num_dense_layers": 1, "num_shared_experts": 1, "head_dim": 16,
            "sliding_window": WINDOW, "global_attn_every_n_layers": 4, "route_scale": 1.5, "rope_parameters": rope(),
        },
        {"mup": {"mup_enabled": True}, "two shared": {"num_shared_experts": 2}},
    ),
    "exaone_moe": Family(
        {
            **MOE, "num_hidden_layers": 4, "num_shared_experts": 1, "sliding_window": WINDOW, "head_dim": 16,
            "first_k_dense_replace": 1, "rope_parameters": rope(),
        },
        {"groups": {**GROUPS, "num_experts": 8}, "not normalised": {"norm_topk_prob": False}},
        {"is_moe_layer": [False, True, True, True], "sliding_window_pattern": "LLLG", "mlp_layer_types": DROP},
    ),
    "solar_open": Family(
        {**ROUTED, "head_dim": 16, "rope_parameters": rope(), "routed_scaling_factor": 1.5},
        {"groups": GROUPS, "yarn": {"rope_parameters": YARN}},
        {"intermediate_size": 128, "first_k_dense_replace": 0, "partial_rotary_factor": 1.0, "use_qk_norm": False},
    ),
    "minimax_m2": Family(
        {**LOCAL, "head_dim": 16, "intermediate_size": 32, "rope_parameters": rope(partial_rotary_factor=0.5)},
        {},
        {"rotary_dim": 8, "partial_rotary_factor": DROP, "use_qk_norm": True,
         "shared_intermediate_size": 0, "scoring_func": "sigmoid",
         "use_routing_bias": True},
    ),
    "minimax": Family(
        {
            **LOCAL, "head_dim": 16, "rope_parameters": rope(), "block_size": 16,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        },
    ),
    "mellum": Family(
        {
            **LOCAL, "moe_intermediate_size": 32, "head_dim": 16, "sliding_window": WINDOW, "num_hidden_layers": 4,
            "layer_types": ALTERNATING, "rope_parameters": TWO_BASES,
        },
        {"some dense": {"mlp_layer_types": ["dense", "sparse", "sparse", "dense"]}},
    ),
    "laguna": Family(
        {
            **MOE, "shared_expert_intermediate_size": 48, "head_dim": 16, "sliding_window": WINDOW, "num_hidden_layers": 4,
            "layer_types": ALTERNATING, "gating": "per-head", "num_attention_heads_per_layer": [4, 2, 4, 2],
            "rope_parameters": {
                "full_attention": rope(theta=300_000.0, partial_rotary_factor=0.5),
                "sliding_attention": rope(theta=7_000.0, partial_rotary_factor=1.0),
            },
        },
        {
            "by element": {"gating": "per-element"},
            "scaled": {"moe_routed_scaling_factor": 1.5},
            "capped": {"moe_router_logit_softcapping": 2.0},
        },
    ),
    "llama4_text": Family(
        LLAMA4,
        {
            "every other": {"interleave_moe_layer_step": 2},
            "no qk norm": {"use_qk_norm": False},
            "llama3": {
                "rope_parameters": rope(
                    "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
                ),
            },
            "tuned temperature": {"floor_scale": 8, "attn_scale": 0.3},
        },
        {"layer_types": DROP},
    ),
    "dbrx": Family(
        {
            "d_model": 64, "n_heads": 4, "n_layers": 3, "max_seq_len": 256, "vocab_size": VOCAB,
            "attn_config": {"clip_qkv": 0.5, "kv_n_heads": 2, "rope_theta": 50_000.0},
            "ffn_config": {"hidden_size": 64, "ffn_hidden_size": 96, "moe_num_experts": 4, "moe_top_k": 2},
            "rope_parameters": rope(),
        },
    ),
    "mimo_v2_flash": Family(
        {
            **{k: v for k, v in ROUTED.items() if k != "n_shared_experts"}, "num_hidden_layers": 4, "head_dim": 24,
            "v_head_dim": 16, "sliding_window": WINDOW, "layer_types": ALTERNATING, "n_group": 1, "topk_group": 1,
            "rope_parameters": {
                "full_attention": rope(theta=300_000.0, partial_rotary_factor=0.334),
                "sliding_attention": rope(theta=7_000.0, partial_rotary_factor=0.334),
            },
        },
        {},
        {
            "hybrid_layer_pattern": [1, 0, 1, 0], "moe_layer_freq": [0, 1, 1, 1], "add_swa_attention_sink_bias": True,
            "add_full_attention_sink_bias": False, "sliding_window_size": WINDOW - 1, "topk_method": "noaux_tc",
            "scoring_func": "sigmoid", "n_shared_experts": None, "layernorm_epsilon": 1e-5, "rope_theta": 300_000.0,
            "swa_rope_theta": 7_000.0, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 24,
            "swa_v_head_dim": 16, "partial_rotary_factor": 0.334, "routed_scaling_factor": None,
        },
    ),
}  # fmt: skip
