"""Families with latent attention (MLA): keys and values come out of a short vector."""

from __future__ import annotations

from proving.case import DROP, LINEAR, NESTED_ROPE, YARN, Family, longrope, rope

MLA = {
    "q_lora_rank": 32, "kv_lora_rank": 32, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 16,
    "num_key_value_heads": 4,
}  # fmt: skip
ROUTED = {
    "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 32,
    "n_group": 1, "topk_group": 1,
}  # fmt: skip
MSCALE = {**YARN, "mscale": 0.7, "mscale_all_dim": 0.9}
GROUPS = {"n_group": 4, "topk_group": 2}
# With few index heads many keys score exactly 0, and which of them is taken is nobody's to say.
INDEX = {"index_topk": 128, "index_head_dim": 32, "index_n_heads": 32}

LATENT: dict[str, Family] = {
    "deepseek_v2": Family(
        {**MLA, **ROUTED, "first_k_dense_replace": 1, "rope_parameters": rope()},
        {
            "short queries": {"q_lora_rank": None},
            "groups": {**GROUPS, "topk_method": "group_limited_greedy", "routed_scaling_factor": 1.5},
            "yarn": {"rope_parameters": MSCALE},
        },
    ),
    "deepseek_v3": Family(
        {**MLA, **ROUTED, **GROUPS, "first_k_dense_replace": 1, "rope_parameters": rope()},
        {
            "short queries": {"q_lora_rank": None},
            "yarn": {"rope_parameters": MSCALE},
            "not normalised": {"norm_topk_prob": False},
            "biases": {"attention_bias": True},
        },
        {"topk_method": "noaux_tc", "scoring_func": "sigmoid"},
    ),
    "deepseek_v32": Family(
        {**MLA, **ROUTED, **GROUPS, **INDEX, "first_k_dense_replace": 1, "rope_parameters": rope()},
        {"beyond index_topk": {"index_topk": 16}, "yarn": {"rope_parameters": MSCALE}},
        {"topk_method": "noaux_tc", "scoring_func": "sigmoid"},
    ),
    "glm4_moe_lite": Family(
        {**MLA, **ROUTED, "rope_parameters": rope(), "first_k_dense_replace": 1},
        {"groups": GROUPS, "yarn": {"rope_parameters": MSCALE}},
        {"topk_method": "noaux_tc"},
    ),
    "glm_moe_dsa": Family(
        {**MLA, **ROUTED, **INDEX, "first_k_dense_replace": 1, "rope_parameters": rope()},
        {"beyond index_topk": {"index_topk": 16}},
        {"topk_method": "noaux_tc", "scoring_func": "sigmoid", "moe_layer_freq": 1, "rope_parameters": rope()},
    ),
    "longcat_flash": Family(
        {
            "hidden_size": 64, "num_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "ffn_hidden_size": 128,
            "q_lora_rank": 32, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "head_dim": 16,
            "v_head_dim": 16, "moe_topk": 2, "n_routed_experts": 4, "zero_expert_num": 2, "expert_ffn_hidden_size": 32,
            "routed_scaling_factor": 1.5, "rope_parameters": rope(),
        },
        {},
        {"attention_method": "MLA", "zero_expert_type": "identity", "mla_scale_q_lora": True, "mla_scale_kv_lora": True},
    ),
    "mistral4": Family(
        {**MLA, **ROUTED, "head_dim": 32,
         "rope_parameters": {**YARN, "llama_4_scaling_beta": 0.1, "partial_rotary_factor": 0.5}},
        published=NESTED_ROPE,
    ),
    "minicpm3": Family(
        {**MLA, "rope_parameters": rope(), "scale_emb": 3, "scale_depth": 1.4, "dim_model_base": 32, "head_dim": 16},
        {
            "untied": {"tie_word_embeddings": False},
            "linear": {"rope_parameters": LINEAR},
            "longrope": {"rope_parameters": longrope(8), "original_max_position_embeddings": 64},
            "longrope, short": {"rope_parameters": longrope(8, 128), "original_max_position_embeddings": 128},
        },
        {"layer_types": DROP},
    ),
    "kimi_linear": Family(
        {
            "q_lora_rank": None, "kv_lora_rank": 32, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 16,
            "num_key_value_heads": 4, "num_hidden_layers": 4, "num_experts": 4, "num_experts_per_token": 2,
            "num_shared_experts": 1, "moe_intermediate_size": 32, "linear_head_dim": 16, "linear_num_heads": 4,
            "layer_types": ["linear_attention"] * 3 + ["full_attention"],
            "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"], "head_dim": 16,
        },
        {},
        {
            "linear_attn_config": {
                "full_attn_layers": [4], "kda_layers": [1, 2, 3], "head_dim": 16, "num_heads": 4, "short_conv_kernel_size": 4,
            },
            "layer_types": DROP, "mlp_layer_types": DROP, "first_k_dense_replace": 1, "moe_layer_freq": 1,
            "rope_theta": 10_000.0, "rope_scaling": None, "mla_use_nope": True, "moe_router_activation_func": "sigmoid",
            "use_grouped_topk": True,
        },
    ),
    "bailing_hybrid": Family(
        {
            "q_lora_rank": None, "kv_lora_rank": 32, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 16,
            "num_key_value_heads": 4, "num_hidden_layers": 4, "num_experts": 4, "num_experts_per_token": 2,
            "num_shared_experts": 1, "moe_intermediate_size": 32, "linear_head_dim": 16, "linear_num_heads": 4,
            "layer_group_size": 2, "first_k_dense_replace": 1, "num_expert_group": 2, "topk_group": 1, "head_dim": 16,
            "num_nextn_predict_layers": 0, "rope_parameters": rope(),
        },
        {},
        {
            "architectures": ["BailingMoeV3ForCausalLM"], "num_experts_per_tok": 2, "n_group": 2, "norm_topk_prob": True,
            "max_position_embeddings": 256, "moe_shared_expert_intermediate_size": 32, "no_kda_lora": True,
            "num_expert_group": DROP, "moe_renormalize": DROP, "num_experts_per_token": DROP, "model_max_length": DROP,
        },
    ),
}  # fmt: skip
