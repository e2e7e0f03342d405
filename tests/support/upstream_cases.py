"""What mlx-lm 0.32.2 computes otherwise than transformers, as tiny configurations that show it."""

from __future__ import annotations

import transformers
from checkpoints import COMMON, VOCAB, YARN
from upstream import Upstream

TWO = {**COMMON, "num_hidden_layers": 2}
FOUR = {**COMMON, "num_hidden_layers": 4}
ROUTED = {
    "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 32, "n_group": 4,
    "topk_group": 2, "first_k_dense_replace": 1,
}  # fmt: skip
MLA = {
    "q_lora_rank": 32, "kv_lora_rank": 32, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 16,
    "num_key_value_heads": 4,
}  # fmt: skip
INDEX = {
    "index_topk": 16,
    "index_head_dim": 32,
    "index_n_heads": 32,
}  # several keys that score exactly zero are any library's choice
PUBLISHED = {"topk_method": "noaux_tc", "scoring_func": "sigmoid", "moe_layer_freq": 1}
FALCON = {
    **TWO, "head_dim": 16, "mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_ssm": 128,
    "mamba_chunk_size": 16, "embedding_multiplier": 1.5, "lm_head_multiplier": 0.8, "mlp_multipliers": [0.9, 1.2],
    "key_multiplier": 0.6, "attention_in_multiplier": 0.9, "attention_out_multiplier": 0.7, "ssm_in_multiplier": 0.8,
    "ssm_out_multiplier": 1.3, "ssm_multipliers": [0.9, 0.8, 1.1, 1.2, 0.7],
}  # fmt: skip
BIASES = {"attention_bias": True, "mlp_bias": True, "projectors_bias": True, "mamba_proj_bias": True}
JAMBA = {
    **FOUR, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 4, "num_experts_per_tok": 2, "mamba_d_state": 8,
    "mamba_dt_rank": 4,
}  # fmt: skip
ERNIE = {
    **TWO, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 32, "moe_num_shared_experts": 1,
    "moe_layer_start_index": 1, "moe_layer_end_index": 1,
}  # fmt: skip
QWEN = {
    **TWO, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 48,
}  # fmt: skip
TWO_BASES = {
    "full_attention": {"rope_type": "default", "rope_theta": 300_000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 7_000.0},
}
HALF = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5}
MINISTRAL = {
    **TWO, "head_dim": 16, "sliding_window": 16,
    "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1},
}  # fmt: skip

CASES: dict[str, Upstream] = {
    "multipliers": Upstream("falcon_h1.py", lambda: transformers.FalconH1Config(**FALCON), "mixers/falcon_h1"),
    "multipliers of biases": Upstream(
        "falcon_h1.py", lambda: transformers.FalconH1Config(**FALCON, **BIASES), "falcon_h1"
    ),
    "falcon_h1's norm by groups": Upstream(
        "falcon_h1.py",
        lambda: transformers.FalconH1Config(**FALCON, mamba_rms_norm=True, mamba_n_groups=2),
        "mixers/gated_norm",
    ),
    "mamba2's norm by groups": Upstream(
        "mamba2.py",
        lambda: transformers.Mamba2Config(**TWO, num_heads=8, head_dim=16, state_size=16, n_groups=2, chunk_size=16),
        "mixers/gated_norm",
    ),
    "mamba2's epsilon": Upstream(
        "mamba2.py",
        lambda: transformers.Mamba2Config(
            **TWO, num_heads=8, head_dim=16, state_size=16, n_groups=1, chunk_size=16, layer_norm_epsilon=0.1
        ),
        "mixers/gated_norm",
    ),
    "unnormalised experts": Upstream("jamba.py", lambda: transformers.JambaConfig(**JAMBA), "experts/routing"),
    "layers of experts": Upstream(
        "jamba.py",
        lambda: transformers.JambaConfig(**JAMBA, expert_layer_period=4, expert_layer_offset=1),
        "experts/routing",
    ),
    "correction bias": Upstream("ernie4_5_moe.py", lambda: transformers.Ernie4_5_MoeConfig(**ERNIE), "experts/routing"),
    "groups of experts": Upstream(
        "deepseek_v3.py", lambda: transformers.DeepseekV3Config(**TWO | MLA, **ROUTED), "experts/groups"
    ),
    "llama's activation": Upstream(
        "llama.py", lambda: transformers.LlamaConfig(**TWO, hidden_act="gelu_pytorch_tanh"), "activations"
    ),
    "experts' activation": Upstream(
        "mixtral.py",
        lambda: transformers.MixtralConfig(**TWO, num_local_experts=4, num_experts_per_tok=2, hidden_act="relu"),
        "activations",
    ),
    "gemma's old word for the tanh form": Upstream(
        "gemma.py", lambda: transformers.GemmaConfig(**TWO, head_dim=16, hidden_act="gelu"), "activations"
    ),
    "half a head": Upstream(
        "glm.py", lambda: transformers.GlmConfig(**TWO, head_dim=16, rope_parameters=HALF), "rotation"
    ),
    "yarn without rounding": Upstream(
        "rope_utils.py",
        lambda: transformers.Qwen3Config(**TWO, head_dim=16, rope_parameters={**YARN, "truncate": False}),
        "yarn",
    ),
    "yarn's attention factor": Upstream(
        "rope_utils.py",
        lambda: transformers.Qwen3Config(**TWO, head_dim=16, rope_parameters={**YARN, "attention_factor": 1.4}),
        "yarn",
    ),
    "a window in every layer": Upstream("ministral3.py", lambda: transformers.Ministral3Config(**MINISTRAL), "window"),
    "a window in some layers": Upstream(
        "gemma2.py",
        lambda: transformers.Gemma2Config(**TWO, head_dim=16, query_pre_attn_scalar=16, sliding_window=16),
        "window",
    ),
    "one choice for two layers": Upstream(
        "glm_moe_dsa.py",
        lambda: transformers.GlmMoeDsaConfig(
            **COMMON | MLA, **ROUTED, **INDEX, **PUBLISHED, indexer_types=["full", "shared", "full"]
        ),
        "mixers/indexer",
    ),
    "dense layers among experts": Upstream(
        "qwen2_moe.py",
        lambda: transformers.Qwen2MoeConfig(**QWEN, mlp_only_layers=[0], decoder_sparse_step=2),
        "experts/feed_forward",
    ),
    "normalised weights": Upstream(
        "qwen2_moe.py", lambda: transformers.Qwen2MoeConfig(**QWEN, norm_topk_prob=True), "experts/feed_forward"
    ),
    "a dense layer of mellum's": Upstream(
        "mellum.py",
        lambda: transformers.MellumConfig(
            **TWO, num_local_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, head_dim=16, sliding_window=16,
            layer_types=["sliding_attention", "full_attention"], mlp_layer_types=["dense", "sparse"],
            rope_parameters=TWO_BASES,
        ),
        "experts/feed_forward",
    ),
    "a narrow layer": Upstream(
        "gpt2.py",
        lambda: transformers.GPT2Config(n_embd=64, n_head=4, n_layer=2, n_positions=256, vocab_size=VOCAB, n_inner=96),
        "experts/feed_forward",
    ),
    "gpt_neox's narrow layer": Upstream(
        "gpt_neox.py", lambda: transformers.GPTNeoXConfig(**TWO), "experts/feed_forward"
    ),
    "keys for every head": Upstream(
        "gpt_bigcode.py",
        lambda: transformers.GPTBigCodeConfig(
            n_embd=64, n_head=4, n_layer=2, n_positions=256, vocab_size=VOCAB, multi_query=False
        ),
        "attention",
    ),
    "no caps": Upstream(
        "gemma2.py",
        lambda: transformers.Gemma2Config(
            **TWO, head_dim=16, query_pre_attn_scalar=16, attn_logit_softcapping=None, final_logit_softcapping=None
        ),
        "attention",
    ),
    "qwen3's biases": Upstream(
        "qwen3.py", lambda: transformers.Qwen3Config(**TWO, head_dim=16, attention_bias=True), "biases"
    ),
    "no biases": Upstream("starcoder2.py", lambda: transformers.Starcoder2Config(**TWO, use_bias=False), "biases"),
    "phimoe without biases": Upstream(
        "phimoe.py",
        lambda: transformers.PhimoeConfig(**TWO, num_local_experts=4, num_experts_per_tok=2),
        "biases",
    ),
    "a head with a bias": Upstream(
        "ernie4_5_moe.py", lambda: transformers.Ernie4_5_MoeConfig(**ERNIE, use_bias=True, tie_word_embeddings=False), "biases"
    ),
    "yarn for qwen3's experts": Upstream(
        "qwen3_moe.py",
        lambda: transformers.Qwen3MoeConfig(
            **TWO, head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, rope_parameters=YARN
        ),
        "scaling",
    ),
    "a base for each type of layer": Upstream(
        "olmo3.py",
        lambda: transformers.Olmo3Config(
            **TWO, sliding_window=16, layer_types=["sliding_attention", "full_attention"], rope_parameters=TWO_BASES
        ),
        "scaling",
    ),
    "another base": Upstream(
        "recurrent_gemma.py",
        lambda: transformers.RecurrentGemmaConfig(
            **TWO | {"num_hidden_layers": 3, "num_key_value_heads": 1}, lru_width=64, attention_window_size=16, head_dim=16,
            rope_parameters={**HALF, "rope_theta": 50_000.0},
        ),
        "scaling",
    ),
    "granite 4's norm by groups": Upstream(
        "granitemoehybrid.py",
        lambda: transformers.GraniteMoeHybridConfig(
            **TWO, mamba_d_state=8, mamba_n_heads=8, mamba_d_head=16, mamba_n_groups=2, mamba_chunk_size=16,
            layer_types=["mamba", "attention"], num_local_experts=0, num_experts_per_tok=0, shared_intermediate_size=48,
        ),
        "mixers/gated_norm",
    ),
    "a tied head divided": Upstream(
        "minicpm3.py",
        lambda: transformers.MiniCPM3Config(
            **TWO | MLA, head_dim=16, scale_emb=3, scale_depth=1.4, dim_model_base=32, tie_word_embeddings=True
        ),
        "attention",
    ),
    "gates by element": Upstream(
        "laguna.py",
        lambda: transformers.LagunaConfig(
            **TWO, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, shared_expert_intermediate_size=48,
            head_dim=16, sliding_window=16, layer_types=["sliding_attention", "full_attention"], gating="per-element",
            rope_parameters=TWO_BASES, num_attention_heads_per_layer=[4, 2],
        ),
        "attention",
    ),
    "mamba's epsilon": Upstream(
        "mamba.py",
        lambda: transformers.MambaConfig(
            hidden_size=64, vocab_size=VOCAB, num_hidden_layers=2, state_size=8, time_step_rank=4, layer_norm_epsilon=0.03
        ),
        "norms",
    ),
    "nanochat's epsilon": Upstream("nanochat.py", lambda: transformers.NanoChatConfig(**TWO, rms_norm_eps=0.01), "norms"),
    "the epsilon of latent norms": Upstream(
        "glm4_moe_lite.py",
        lambda: transformers.Glm4MoeLiteConfig(
            **TWO | MLA, **{**ROUTED, "n_group": 1, "topk_group": 1}, topk_method="noaux_tc", rms_norm_eps=0.01
        ),
        "norms",
    ),
    "halves in place of neighbours": Upstream(
        "deepseek_v3.py",
        lambda: transformers.DeepseekV3Config(**TWO | MLA, **{**ROUTED, "n_group": 1, "topk_group": 1}, rope_interleave=False),
        "rotation",
    ),
    "one expert of weight one": Upstream(
        "deepseek_v3.py",
        lambda: transformers.DeepseekV3Config(
            **TWO | MLA, **{**ROUTED, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 1}, norm_topk_prob=True
        ),
        "experts/groups",
    ),
    "another clamp": Upstream(
        "gpt_oss.py",
        lambda: transformers.GptOssConfig(
            **TWO, head_dim=16, num_local_experts=4, num_experts_per_tok=2, sliding_window=16,
            swiglu_alpha=1.2, swiglu_limit=1.0,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        ),
        "activations",
    ),
    "the epsilon of llama 4's queries": Upstream(
        "llama4.py",
        lambda: transformers.Llama4TextConfig(
            **FOUR, head_dim=16, intermediate_size_mlp=64, num_local_experts=4, num_experts_per_tok=1, attention_chunk_size=16,
            rms_norm_eps=0.01,
        ),
        "norms",
    ),
    "keys of another layer": Upstream(
        "gemma3n.py",
        lambda: transformers.Gemma3nTextConfig(
            **COMMON | {"num_hidden_layers": 4}, head_dim=16, vocab_size_per_layer_input=VOCAB, hidden_size_per_layer_input=32,
            num_kv_shared_layers=2, laurel_rank=8, sliding_window=16, altup_num_inputs=2,
            activation_sparsity_pattern=[0.5, 0.5, 0.0, 0.0], layer_types=["sliding_attention", "full_attention"] * 2,
        ),
        "mixers/shared_keys",
    ),
}  # fmt: skip
