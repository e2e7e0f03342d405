"""Families whose text model stands beside towers for pictures or sound."""

from __future__ import annotations

from proving.case import NESTED_ROPE, TEXT, VOCAB, WINDOW, YARN, Family, rope
from proving.cases.dense import GEMMA3N, GEMMA4, SHARED, TWO_BASES
from proving.cases.experts import LLAMA4
from proving.cases.latent import MLA, MSCALE, ROUTED
from proving.cases.recurrent import DELTA, MOE

SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
}  # fmt: skip
UNNAMED = {key: value for key, value in SIGLIP.items() if key != "model_type"}
PIXTRAL = {**SIGLIP, "model_type": "pixtral", "head_dim": 16}
CLIP = {**SIGLIP, "model_type": "clip_vision_model"}
MROPE = rope(mrope_section=[2, 3, 3])
QWEN = {"depth": 1, "hidden_size": 32, "out_hidden_size": 64, "num_heads": 2, "intermediate_size": 64}
DEEPSTACK = {**QWEN, "deepstack_visual_indexes": [0]}
QWEN3_5 = {
    **TEXT,
    **DELTA,
    "rope_parameters": rope(mrope_section=[2, 1, 1], partial_rotary_factor=0.25, mrope_interleaved=True),
}
PATCHES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "pos_emb_height": 4, "pos_emb_width": 4,
}  # fmt: skip
MINIMAX = {
    **TEXT, "num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 32, "dense_intermediate_size": 128,
    "shared_intermediate_size": 32, "rotary_dim": 8, "mlp_layer_types": ["dense", "sparse"], "num_hidden_layers": 2,
    "layer_types": ["full_attention", "minimax_m3_sparse"], "index_n_heads": 2, "index_head_dim": 16,
    "index_block_size": 8, "index_topk_blocks": 2,
    "rope_parameters": rope(partial_rotary_factor=0.5),
}  # fmt: skip
WIDE_PARTS = {"text_config": {"sliding_window": WINDOW}}
NEW = {"text_config": NESTED_ROPE}
LATENT_TEXT = {k: v for k, v in TEXT.items() if k != "head_dim"} | MLA | ROUTED

WRAPPERS: dict[str, Family] = {
    "gemma3": Family(
        {
            "text_config": {
                **TEXT, "num_hidden_layers": 6, "query_pre_attn_scalar": 16, "sliding_window": WINDOW,
                "rope_parameters": TWO_BASES,
            },
            "vision_config": SIGLIP, "mm_tokens_per_image": 4,
            "image_token_index": 5, "boi_token_index": 6, "eoi_token_index": 7,
        },
        {"linear": {"text_config": {"rope_parameters": {**TWO_BASES, "full_attention": rope("linear", 3e5, factor=8.0)}}}},
        is_wrapper=True,
    ),
    "gemma3n": Family(
        {
            "text_config": {**TEXT, **GEMMA3N}, "vision_config": {"vocab_offset": VOCAB},
            "audio_config": {"hidden_size": 32, "conf_num_attention_heads": 2, "conf_num_hidden_layers": 1},
        },
        {"shared": {"text_config": SHARED}},
        is_wrapper=True,
    ),
    "gemma4": Family(
        {"text_config": {**TEXT, **GEMMA4}, "vision_config": UNNAMED, "audio_config": None},
        {
            "experts": {
                "text_config": {
                    "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32,
                },
            },
            "nothing shared": {"text_config": {"num_kv_shared_layers": 0, "use_double_wide_mlp": False}},
        },
        is_wrapper=True,
    ),
    "gemma4_unified": Family(
        {
            "text_config": {
                **{k: v for k, v in {**TEXT, **GEMMA4}.items() if "per_layer_input" not in k}, "use_double_wide_mlp": False,
            },
        },
        is_wrapper=True,
    ),
    "llama4": Family(
        {
            "text_config": {**TEXT, **LLAMA4},
            "vision_config": {
                "hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
                "patch_size": 14, "vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32,
            },
        },
        is_wrapper=True,
    ),
    "llava of mistral": Family(
        {"text_config": {**TEXT, "model_type": "mistral", "rope_parameters": rope()}, "vision_config": PIXTRAL},
        {"window": WIDE_PARTS},
        kind="llava", is_wrapper=True,
    ),
    "llava of llama": Family(
        {"text_config": {**TEXT, "model_type": "llama", "rope_parameters": rope()}, "vision_config": CLIP},
        kind="llava", is_wrapper=True,
    ),
    "llava of qwen2": Family(
        {"text_config": {**TEXT, "model_type": "qwen2", "rope_parameters": rope()}, "vision_config": CLIP},
        kind="llava", is_wrapper=True,
    ),
    "mistral3 of mistral": Family(
        {
            "text_config": {**TEXT, "model_type": "mistral", "rope_parameters": rope()}, "vision_config": PIXTRAL,
            "image_token_index": 5,
        },
        {"window": WIDE_PARTS},
        kind="mistral3", is_wrapper=True,
    ),
    "mistral3 of ministral3": Family(
        {
            "text_config": {
                **TEXT, "model_type": "ministral3",
                "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1},
            },
            "vision_config": PIXTRAL, "image_token_index": 5,
        },
        published=NEW, kind="mistral3", is_wrapper=True,
    ),
    "mistral3 of mistral4": Family(
        {
            "text_config": {
                **TEXT, **MLA, **ROUTED, "head_dim": 32, "model_type": "mistral4",
                "rope_parameters": {**YARN, "llama_4_scaling_beta": 0.1, "partial_rotary_factor": 0.5},
            },
            "vision_config": PIXTRAL, "image_token_index": 5,
        },
        published=NEW, kind="mistral3", is_wrapper=True,
    ),
    "qwen2_vl": Family(
        {
            "text_config": {**TEXT, "rope_parameters": MROPE},
            "vision_config": {"depth": 1, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "patch_size": 14},
        },
        {
            "tied": {"text_config": {"tie_word_embeddings": True}, "tie_word_embeddings": True},
            "window": {"text_config": {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}},
        },
        is_wrapper=True,
    ),
    "qwen2_5_vl": Family(
        {
            "text_config": {**TEXT, "rope_parameters": MROPE},
            "vision_config": {**QWEN, "fullatt_block_indexes": [0]},
        },
        {
            "tied": {"text_config": {"tie_word_embeddings": True}, "tie_word_embeddings": True},
            "window": {"text_config": {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}},
        },
        is_wrapper=True,
    ),
    "qwen3_vl": Family(
        {"text_config": {**TEXT, "rope_parameters": MROPE}, "vision_config": DEEPSTACK},
        {"tied": {"text_config": {"tie_word_embeddings": True}, "tie_word_embeddings": True}},
        is_wrapper=True,
    ),
    "qwen3_vl_moe": Family(
        {
            "text_config": {
                **TEXT, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "rope_parameters": MROPE,
            },
            "vision_config": DEEPSTACK,
        },
        is_wrapper=True,
    ),
    "qwen3_5": Family(
        {"text_config": QWEN3_5, "vision_config": QWEN},
        {"tied": {"text_config": {"tie_word_embeddings": True}, "tie_word_embeddings": True}},
        published=NEW, is_wrapper=True,
    ),
    "qwen3_5_moe": Family(
        {
            "text_config": {**QWEN3_5, **MOE, "shared_expert_intermediate_size": 48}, "vision_config": QWEN,
        },
        published=NEW, fused=True, is_wrapper=True,
    ),
    "lfm2_vl of lfm2": Family(
        {
            "text_config": {
                **TEXT, "model_type": "lfm2", "num_hidden_layers": 4, "layer_types": ["conv", "full_attention"] * 2,
                "rope_parameters": rope(),
            },
            "vision_config": {**SIGLIP, "model_type": "siglip2_vision_model"},
        },
        kind="lfm2_vl", is_wrapper=True,
    ),
    "kimi_k25 of deepseek_v3": Family(
        {
            "text_config": {
                **LATENT_TEXT, "model_type": "deepseek_v3", "first_k_dense_replace": 1, "num_hidden_layers": 2,
                "rope_parameters": MSCALE,
            },
            "vision_config": PATCHES, "projection_hidden_size": 32, "tie_word_embeddings": False,
        },
        kind="kimi_k25", is_wrapper=True,
    ),
    "minimax_m3_vl": Family(
        {"text_config": MINIMAX, "vision_config": UNNAMED, "projector_hidden_size": 64}, published=NEW, is_wrapper=True
    ),
    "muse_glimmer": Family(
        {
            "text_config": {**TEXT, "num_hidden_layers": 4, "sliding_window": WINDOW, "rope_parameters": rope()},
            "vision_config": PATCHES, "out_hidden_size": 128, "projector_hidden_size": 32,
        },
        published=NEW, is_wrapper=True,
    ),
    "muse_spark": Family(
        {
            "text_config": {
                **TEXT, "num_hidden_layers": 4, "sliding_window": WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2,
                "moe_intermediate_size": 32, "moe_hidden_size": 32, "rope_parameters": rope(),
            },
            "audio_config": {"hidden_sizes": [16] * 4, "depths": [1] * 4, "out_hidden_size": 64},
            "vision_config": PATCHES, "out_hidden_size": 128, "projector_hidden_size": 32,
        },
        published=NEW, is_wrapper=True,
    ),
}  # fmt: skip
