"""Families whose layers, all or some, carry a state: Mamba, convolutions, gated delta rules, linear recurrences."""

from __future__ import annotations

from proving.case import DROP, WINDOW, Family, rope

MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
DELTA = {
    "num_hidden_layers": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16, "head_dim": 32, "rope_parameters": rope(partial_rotary_factor=0.25),
}  # fmt: skip
MAMBA = {"state_size": 8, "time_step_rank": 4, "num_hidden_layers": 3}
SSM = {
    "mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_expand": 2, "mamba_chunk_size": 16,
}  # fmt: skip

RECURRENT: dict[str, Family] = {
    "mamba": Family(
        MAMBA,
        {"biases": {"use_bias": True}, "no convolution bias": {"use_conv_bias": False},
         "untied": {"tie_word_embeddings": False}},
    ),
    "falcon_mamba": Family(MAMBA),
    "mamba2": Family(
        {"num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 1, "chunk_size": 16},
        {
            "groups": {"n_groups": 2},
            "biases": {"use_bias": True},
            "limits": {"time_step_limit": (0.01, 0.5)},
            "tied": {"tie_word_embeddings": True},
        },
    ),
    "jamba": Family(
        {
            "num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2,
            "expert_layer_offset": 1, "num_experts": 4, "num_experts_per_tok": 2, "mamba_d_state": 8, "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
        {"tied": {"tie_word_embeddings": True}, "biases": {"mamba_proj_bias": True}},
    ),
    "falcon_h1": Family(
        {
            **SSM, "mamba_d_ssm": 128, "head_dim": 16, "rope_parameters": rope(), "lm_head_multiplier": 0.8,
            "embedding_multiplier": 1.5, "mlp_multipliers": [0.9, 1.2], "key_multiplier": 0.6,
            "attention_out_multiplier": 0.7, "attention_in_multiplier": 0.9, "ssm_multipliers": [0.9, 0.8, 1.1, 1.2, 0.7],
            "ssm_in_multiplier": 0.8, "ssm_out_multiplier": 1.3,
        },
        {
            "groups": {"mamba_n_groups": 2},
            "norm": {"mamba_rms_norm": True},
            "norm after the gate": {"mamba_rms_norm": True, "mamba_norm_before_gate": False},
            "biases": {"attention_bias": True, "mlp_bias": True, "projectors_bias": True},
            "no factors": {
                "lm_head_multiplier": 1.0, "embedding_multiplier": 1.0, "mlp_multipliers": [1.0, 1.0], "key_multiplier": 1.0,
                "attention_out_multiplier": 1.0, "attention_in_multiplier": 1.0, "ssm_multipliers": [1.0] * 5,
                "ssm_in_multiplier": 1.0, "ssm_out_multiplier": 1.0,
            },
            "tied": {"tie_word_embeddings": True},
        },
    ),
    "granitemoehybrid": Family(
        {
            **SSM, "num_hidden_layers": 4, "layer_types": ["mamba", "mamba", "attention", "mamba"], "num_local_experts": 4,
            "num_experts_per_tok": 2, "intermediate_size": 32, "shared_intermediate_size": 48, "embedding_multiplier": 3.0,
            "logits_scaling": 2.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2, "position_embedding_type": None,
        },
        {
            "dense": {"num_local_experts": 0, "num_experts_per_tok": 0},
            "rope": {"position_embedding_type": "rope", "rope_parameters": rope()},
            "groups": {"mamba_n_groups": 2},
            "tied": {"tie_word_embeddings": True},
            "attention only": {
                "layer_types": ["attention"] * 4, "num_local_experts": 0, "num_experts_per_tok": 0,
                "position_embedding_type": "rope", "rope_parameters": rope(),
            },
        },
        {"layer_types": ["mamba", "mamba", "attention", "mamba"], "layers_block_type": DROP},
        {"attention only": {"layer_types": ["attention"] * 4, "layers_block_type": DROP}},
    ),
    "nemotron_h": Family(
        {
            "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"], "ssm_state_size": 8,
            "mamba_num_heads": 8, "mamba_head_dim": 16, "n_groups": 1, "chunk_size": 16, "head_dim": 16,
            "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 32,
            "moe_shared_expert_intermediate_size": 48, "use_mamba_kernels": False,
            # A floor that transformers has in prefill alone, and the published code nowhere.
            "time_step_min": 1e-6,
        },
        {
            "groups": {"n_groups": 2},
            "limits": {"time_step_limit": (0.01, 0.5)},
            "expert groups": {"n_routed_experts": 8, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 1.5},
            "narrow experts": {"moe_latent_size": 32},
            "no experts": {"layers_block_type": ["linear_attention", "mlp", "full_attention", "mlp"]},
        },
    ),
    "lfm2": Family(
        {"layer_types": ["conv", "full_attention", "conv"], "rope_parameters": rope(), "block_multiple_of": 8},
        {
            "biases": {"conv_bias": True},
            "exact width": {"block_auto_adjust_ff_dim": False},
        },
    ),
    "lfm2_moe": Family(
        {**MOE, "layer_types": ["conv", "full_attention", "conv"], "num_dense_layers": 1, "rope_parameters": rope()},
        {"no expert bias": {"use_expert_bias": False}, "not normalised": {"norm_topk_prob": False}},
    ),
    "qwen3_next": Family(
        {**DELTA, **MOE, "shared_expert_intermediate_size": 48},
        {"some dense": {"mlp_only_layers": [0]}, "not normalised": {"norm_topk_prob": False}},
    ),
    "qwen3_5_text": Family(DELTA, {"tied": {"tie_word_embeddings": True}}),
    "qwen3_5_moe_text": Family({**DELTA, **MOE, "shared_expert_intermediate_size": 48}),
    "olmo_hybrid": Family(
        {
            "num_hidden_layers": 4, "num_key_value_heads": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 2,
            "linear_key_head_dim": 16, "linear_value_head_dim": 32, "rope_parameters": rope(),
            "layer_types": ["linear_attention"] * 3 + ["full_attention"],
        },
        {"positive": {"linear_allow_neg_eigval": False}},
    ),
    "recurrent_gemma": Family(
        {
            "lru_width": 64, "attention_window_size": WINDOW, "num_key_value_heads": 1, "head_dim": 16,
            "rope_parameters": rope(partial_rotary_factor=0.5), "num_hidden_layers": 3,
        },
    ),
}  # fmt: skip
