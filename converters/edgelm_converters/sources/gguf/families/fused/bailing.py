"""Ling and Ring (Bailing's mixtures), the first and the second: experts beside shared ones, the first layers dense."""

from __future__ import annotations

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.families.common import experts, shared_expert
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.fused.orders import PERMUTED
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, expert_lengths
from edgelm_converters.sources.gguf.families.rule import merged, same
from edgelm_converters.sources.gguf.families.settings import (
    expert_settings,
    refuse_free_heads,
    rotary_share,
)
from edgelm_converters.sources.gguf.metadata import Keys

OUTER = (
    same("token_embd.weight", "model.word_embeddings.weight", "vocab", "hidden"),
    same("output_norm.weight", "model.norm.weight", "hidden"),
    same("output.weight", "lm_head.weight", "vocab", "hidden"),
)
COMMON = (
    same("attn_norm.weight", "input_layernorm.weight", "hidden"),
    same("ffn_norm.weight", "post_attention_layernorm.weight", "hidden"),
    same("attn_output.weight", "attention.dense.weight", "hidden", "q"),
    same("ffn_gate.weight", "mlp.gate_proj.weight", "feed_forward", "hidden"),
    same("ffn_up.weight", "mlp.up_proj.weight", "feed_forward", "hidden"),
    same("ffn_down.weight", "mlp.down_proj.weight", "hidden", "feed_forward"),
    same("ffn_gate_inp.weight", "mlp.gate.gate_proj.weight", "experts", "hidden"),
    *experts(),
    *shared_expert("mlp.shared_experts"),
)
FIRST = (
    *COMMON,
    merged(
        "attention.query_key_value.weight",
        ("qkv", "hidden"),
        ("attn_q.weight", ("q", "hidden")),
        ("attn_k.weight", ("kv", "hidden")),
        ("attn_v.weight", ("kv", "hidden")),
        rows=PERMUTED,
    ),
)
SECOND = (
    *COMMON,
    same("attn_qkv.weight", "attention.query_key_value.weight", "qkv", "hidden"),
    same("attn_q_norm.weight", "attention.query_layernorm.weight", "head"),
    same("attn_k_norm.weight", "attention.key_layernorm.weight", "head"),
    same("exp_probs_b.bias", "mlp.gate.expert_bias", "experts"),
)
GATES = {1: "softmax", 2: "sigmoid"}
"""llama.cpp's numbers (gguf.constants.ExpertGatingFuncType)."""


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = expert_lengths(keys, tensors)
    dense = lengths["feed_forward"] if keys.count("leading_dense_block_count") else 0
    return lengths.joined(feed_forward=dense)


def _bailing(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    keys = reading.keys
    gate = keys.size("expert_gating_func", 1)
    if gate not in GATES:
        raise UnsupportedError(
            f"{keys.path} chooses experts by function {gate}, expected 1 (softmax) or 2 (sigmoid)"
        )
    config |= expert_settings(
        reading,
        count="num_experts",
        used="num_experts_per_tok",
        width="moe_intermediate_size",
        shared="moe_shared_expert_intermediate_size",
    )
    config |= {
        "intermediate_size": keys.size("feed_forward_length"),
        "first_k_dense_replace": keys.count("leading_dense_block_count"),
        "num_shared_experts": keys.count("expert_shared_count"),
        "norm_topk_prob": keys.flag("expert_weights_norm", False),
        "routed_scaling_factor": keys.positive("expert_weights_scale", 1.0),
        "n_group": keys.count("expert_group_count") or 1,
        "topk_group": keys.count("expert_group_used_count") or 1,
        "score_function": GATES[gate],
        "use_bias": False,
        "use_qkv_bias": False,
        # The converter has divided the head by its norms.
        "norm_head": False,
        "use_qk_norm": reading.has("blk.0.attn_q_norm.weight"),
        "moe_router_enable_expert_bias": reading.has_in_any_layer("exp_probs_b.bias"),
        "partial_rotary_factor": rotary_share(reading),
    }


FAMILIES = (
    GGUFFamily(
        "bailingmoe",
        "bailing_moe",
        "BailingMoeForCausalLM",
        OUTER,
        FIRST,
        _bailing,
        _lengths,
        rotates_all=False,
    ),
    GGUFFamily(
        "bailingmoe2",
        "bailing_moe",
        "BailingMoeV2ForCausalLM",
        OUTER,
        SECOND,
        _bailing,
        _lengths,
        rotates_all=False,
    ),
)
