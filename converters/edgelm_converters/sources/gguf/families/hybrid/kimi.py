"""Kimi-Linear: three layers of Kimi delta attention, then one of latent attention without positions; experts.

Layers of delta attention have 0 heads of keys. llama.cpp keeps a latent layer's keys and values as the two halves of
`kv_b_proj`, the first turned, which is how mlx-lm computes with them (conversion/kimi_linear.py).
"""

from __future__ import annotations

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.families.common import (
    FEED_FORWARD,
    OUTER,
    TWO_NORMS,
    experts,
    shared_expert,
)
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.hybrid.mixers import attends
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, outer_lengths
from edgelm_converters.sources.gguf.families.rule import Rule, same
from edgelm_converters.sources.gguf.families.settings import expert_settings
from edgelm_converters.sources.gguf.families.values import NegatedExponential, Reshaped
from edgelm_converters.sources.gguf.metadata import Keys


def _conv(part: str) -> Rule:
    return same(
        f"ssm_conv1d_{part}.weight",
        f"self_attn.{part}_conv.conv.weight",
        "delta",
        1,
        "kernel",
        values=Reshaped(),
        becomes=("delta", "kernel", 1),
    )


BLOCK = (
    *TWO_NORMS,
    same("attn_q.weight", "self_attn.q_proj.weight", "q_rows", "hidden"),
    same("attn_k.weight", "self_attn.k_proj.weight", "delta", "hidden"),
    same("attn_v.weight", "self_attn.v_proj.weight", "delta", "hidden"),
    same("attn_output.weight", "self_attn.o_proj.weight", "hidden", "o_columns"),
    *(_conv(part) for part in "qkv"),
    same("ssm_f_a.weight", "self_attn.f_a_proj.weight", "delta_head", "hidden"),
    same("ssm_f_b.weight", "self_attn.f_b_proj.weight", "delta", "delta_head"),
    same("ssm_g_a.weight", "self_attn.g_a_proj.weight", "delta_head", "hidden"),
    same("ssm_g_b.weight", "self_attn.g_b_proj.weight", "delta", "delta_head"),
    same("ssm_beta.weight", "self_attn.b_proj.weight", "delta_heads", "hidden"),
    same(
        "ssm_a",
        "self_attn.A_log",
        "delta_heads",
        1,
        values=NegatedExponential(),
        becomes=(1, 1, "delta_heads", 1),
    ),
    same("ssm_dt.bias", "self_attn.dt_bias", "delta"),
    same("ssm_norm.weight", "self_attn.o_norm.weight", "delta_head"),
    same("attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight", "rank_and_rest", "hidden"),
    same("attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight", "rank"),
    same("attn_k_b.weight", "self_attn.embed_q.weight", "heads", "rank", "latent_head"),
    same("attn_v_b.weight", "self_attn.unembed_out.weight", "heads", "value_head", "rank"),
    *FEED_FORWARD,
    same("ffn_gate_inp.weight", "mlp.gate.weight", "experts", "hidden"),
    same("exp_probs_b.bias", "mlp.e_score_correction_bias", "experts"),
    *experts(),
    *shared_expert("mlp.shared_experts"),
)
GATES = {1: "softmax", 2: "sigmoid"}
"""llama.cpp's numbers (gguf.constants.ExpertGatingFuncType)."""


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = outer_lengths(keys, tensors)
    heads, rank, rest = (
        keys.size("attention.head_count"),
        keys.size("attention.kv_lora_rank"),
        keys.size("rope.dimension_count"),
    )
    head, value = keys.size("attention.key_length_mla"), keys.size("attention.value_length_mla")
    delta = heads * keys.size("kda.head_dim")
    latent = [count > 0 for count in keys.sizes("attention.head_count_kv", lengths.layers, least=0)]
    dense = keys.size("feed_forward_length") if keys.count("leading_dense_block_count") else 0
    expert = keys.size("expert_feed_forward_length")
    return lengths.joined(
        heads=heads,
        rank=rank,
        rank_and_rest=rank + rest,
        latent_head=head - rest,
        value_head=value,
        delta_heads=heads,
        delta_head=keys.size("kda.head_dim"),
        delta=delta,
        kernel=keys.size("ssm.conv_kernel"),
        q_rows=tuple(heads * head if each else delta for each in latent),
        o_columns=tuple(heads * value if each else delta for each in latent),
        feed_forward=dense,
        experts=keys.size("expert_count"),
        expert=expert,
        shared=expert * keys.count("expert_shared_count"),
    )


def _kimi(config: Config, reading: Reading) -> None:
    keys, sizes = reading.keys, reading.lengths.at(0)
    gate = keys.size("expert_gating_func", 2)
    if gate not in GATES:
        raise UnsupportedError(
            f"{keys.path} chooses experts by function {gate}, expected 1 (softmax) or 2 (sigmoid)"
        )
    latent = attends(reading)
    config |= expert_settings(
        reading, count="num_experts", used="num_experts_per_token", width="moe_intermediate_size"
    )
    config |= {
        "intermediate_size": keys.size("feed_forward_length"),
        "num_attention_heads": sizes["heads"],
        "num_key_value_heads": sizes["heads"],
        "head_dim": sizes["latent_head"],
        "rope_theta": keys.positive("rope.freq_base", 10000.0),
        "model_max_length": config["max_position_embeddings"],
        "kv_lora_rank": sizes["rank"],
        "q_lora_rank": None,
        "qk_nope_head_dim": sizes["latent_head"],
        "qk_rope_head_dim": sizes["rank_and_rest"] - sizes["rank"],
        "v_head_dim": sizes["value_head"],
        "mla_use_nope": True,
        "linear_attn_config": {
            "kda_layers": [layer + 1 for layer, each in enumerate(latent) if not each],
            "full_attn_layers": [layer + 1 for layer, each in enumerate(latent) if each],
            "num_heads": sizes["delta_heads"],
            "head_dim": sizes["delta_head"],
            "short_conv_kernel_size": sizes["kernel"],
        },
        "first_k_dense_replace": keys.count("leading_dense_block_count"),
        "moe_layer_freq": 1,
        "num_shared_experts": keys.count("expert_shared_count"),
        "moe_router_activation_func": GATES[gate],
        "moe_renormalize": True,
        "routed_scaling_factor": keys.positive("expert_weights_scale", 1.0),
        "num_expert_group": keys.count("expert_group_count") or 1,
        "topk_group": keys.count("expert_group_used_count") or 1,
    }


FAMILIES = (
    GGUFFamily(
        "kimi-linear",
        "kimi_linear",
        "KimiLinearForCausalLM",
        OUTER,
        BLOCK,
        _kimi,
        _lengths,
        ignored_keys=frozenset({"vocab_size", "attention.key_length", "attention.value_length"}),
    ),
)
