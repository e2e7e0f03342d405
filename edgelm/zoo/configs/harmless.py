"""Settings of transformers' configs that change no logits of text, by the reason why: a network may pass them over.

Every other one that transformers' code reads has to be read by mlx-lm's, or by a fix of edgelm's (`edgelm.zoo.configs.unread`).
"""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, frozenset[str]] = {
    "training only": frozenset({
        "attention_dropout", "attn_pdrop", "classifier_dropout", "dropout", "emb_pdrop", "embd_pdrop", "embedding_dropout",
        "hidden_dropout", "input_jitter_noise", "moe_dropout", "resid_pdrop", "residual_dropout", "router_jitter_noise",
        "router_aux_loss_coef", "router_z_loss_coef", "router_dtype", "gradient_checkpointing", "num_nextn_predict_layers",
        "ffn_dropout_rate", "dropout_rate", "aux_loss_alpha", "seq_aux", "load_balance_coeff",
    }),
    "first values of weights": frozenset({
        "initializer_range", "initializer_cutoff_factor", "embedding_initializer_range", "final_w_init_variance_scale",
        "linear_a_log_max", "linear_a_log_min", "linear_dt_init_floor", "linear_dt_max", "linear_dt_min",
        "rescale_prenorm_residual", "time_step_floor", "time_step_init_scheme", "time_step_max", "time_step_min",
        "time_step_scale", "w_init_variance_scale", "_init_weights",
    }),
    "what is handed out, or kept between calls": frozenset({
        "add_cross_attention", "is_decoder", "is_encoder_decoder", "logits_to_keep", "num_labels", "num_logits_to_keep",
        "output_attentions", "output_hidden_states", "output_router_logits", "problem_type", "return_dict",
        "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
        "use_cache", "use_return_dict",
    }),
    "another way to the same numbers": frozenset({
        "attention_softmax_in_fp32", "block_size", "chunk_size", "mamba_chunk_size", "pretraining_tp",
        "reorder_and_upcast_attn", "residual_in_fp32", "scale_attention_softmax_in_fp32", "use_associative_scan",
        "use_mamba_kernels", "use_mambapy", "_attn_implementation", "_experts_implementation", "torch_dtype", "dtype",
    }),
    "ids of tokens": frozenset({
        "bos_token_id", "decoder_start_token_id", "eos_token_id", "image_token_id", "pad_token_id", "video_token_id",
    }),
    "lengths that nothing is computed from": frozenset({"max_position_embeddings", "max_seq_len", "n_ctx", "n_positions"}),
    "seen in the names and shapes of tensors": frozenset({
        "attention_bias", "bias", "conv_bias", "lm_head_bias", "mamba_conv_bias", "mamba_proj_bias", "mlp_bias",
        "projectors_bias", "qkv_bias", "use_bias", "use_conv_bias", "use_qkv_bias",
        "hidden_size", "intermediate_size", "n_embd", "n_head", "n_layer", "num_attention_heads", "num_channels",
        "num_hidden_layers", "num_key_value_heads", "patch_size", "vocab_size", "vocab_size_per_layer_input",
        "conv1d_width", "expand", "mamba_expand", "intermediate_size_mlp", "tie_word_embeddings",
    }),
    "positions of images: those of text are three times the same": frozenset({"mrope_section", "mrope_interleaved"}),
}  # fmt: skip

HARMLESS = frozenset().union(*REASONS.values())
