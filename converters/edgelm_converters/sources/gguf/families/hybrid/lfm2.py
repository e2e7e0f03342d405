"""LFM2: short convolutions with gates, an attention layer now and then; experts in the larger ones."""

from __future__ import annotations

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.families.common import EMBEDDING, HEAD, attention
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.hybrid.mixers import attends, attention_sizes, depthwise
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, outer_lengths
from edgelm_converters.sources.gguf.families.rule import Rule, same
from edgelm_converters.sources.gguf.metadata import Keys

OUTER = (
    EMBEDDING,
    # llama.cpp took this norm for one of the embeddings, by its name; it comes last.
    same("token_embd_norm.weight", "model.embedding_norm.weight", "hidden"),
    same("output_norm.weight", "model.embedding_norm.weight", "hidden"),
    HEAD,
)
MIXERS = (
    same("attn_norm.weight", "operator_norm.weight", "hidden"),
    same("ffn_norm.weight", "ffn_norm.weight", "hidden"),
    depthwise("shortconv.conv.weight", "conv.conv.weight", "hidden"),
    same("shortconv.in_proj.weight", "conv.in_proj.weight", "hidden_3", "hidden"),
    same("shortconv.out_proj.weight", "conv.out_proj.weight", "hidden", "hidden"),
    *attention(output="out_proj"),
    same("attn_q_norm.weight", "self_attn.q_layernorm.weight", "head"),
    same("attn_k_norm.weight", "self_attn.k_layernorm.weight", "head"),
)


def _feed_forward(gate: str, down: str, up: str) -> tuple[Rule, ...]:
    return (
        same("ffn_gate.weight", f"feed_forward.{gate}.weight", "feed_forward", "hidden"),
        same("ffn_down.weight", f"feed_forward.{down}.weight", "hidden", "feed_forward"),
        same("ffn_up.weight", f"feed_forward.{up}.weight", "feed_forward", "hidden"),
    )


EXPERTS = (
    same("ffn_gate_inp.weight", "feed_forward.gate.weight", "experts", "hidden"),
    same("exp_probs_b.bias", "feed_forward.expert_bias", "experts"),
    same("ffn_gate_exps.weight", "feed_forward.switch_mlp.gate_proj.weight", "experts", "expert", "hidden"),
    same("ffn_up_exps.weight", "feed_forward.switch_mlp.up_proj.weight", "experts", "expert", "hidden"),
    same("ffn_down_exps.weight", "feed_forward.switch_mlp.down_proj.weight", "experts", "hidden", "expert"),
)
BLOCK = (*MIXERS, *_feed_forward("w1", "w2", "w3"))
MIXTURE = (*MIXERS, *_feed_forward("gate_proj", "down_proj", "up_proj"), *EXPERTS)

SIGMOID = 2
"""llama.cpp's number of that gate (gguf.constants.ExpertGatingFuncType)."""


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = outer_lengths(keys, tensors)
    return lengths.joined(
        **attention_sizes(keys, lengths.layers),
        hidden_3=3 * lengths["hidden"],
        kernel=keys.size("shortconv.l_cache"),
        feed_forward=keys.size("feed_forward_length"),
    )


def _expert_lengths(keys: Keys, tensors: Tensors) -> Lengths:
    dense = keys.size("feed_forward_length") if keys.count("leading_dense_block_count") else 0
    return _lengths(keys, tensors).joined(
        experts=keys.size("expert_count"), expert=keys.size("expert_feed_forward_length"), feed_forward=dense
    )


def _lfm2(config: Config, reading: Reading) -> None:
    sizes = reading.lengths.at(0)
    config |= {
        "layer_types": ["full_attention" if each else "conv" for each in attends(reading)],
        "conv_L_cache": sizes["kernel"],
        "conv_bias": reading.has_in_any_layer("shortconv.conv.bias"),
        "block_dim": sizes["hidden"],
        "block_ff_dim": sizes["feed_forward"],
        "block_auto_adjust_ff_dim": False,
        "block_ffn_dim_multiplier": 1.0,
        "block_multiple_of": 256,
    }


def _mixture(config: Config, reading: Reading) -> None:
    keys, sizes = reading.keys, reading.lengths.at(0)
    if keys.size("expert_gating_func", SIGMOID) != SIGMOID:
        raise UnsupportedError(f"{keys.path} chooses experts by another function than a sigmoid")
    config |= {
        "layer_types": ["full_attention" if each else "conv" for each in attends(reading)],
        "conv_L_cache": sizes["kernel"],
        "conv_bias": False,
        "intermediate_size": keys.size("feed_forward_length"),
        "num_experts": sizes["experts"],
        "num_experts_per_tok": keys.size("expert_used_count"),
        "moe_intermediate_size": sizes["expert"],
        "num_dense_layers": keys.count("leading_dense_block_count"),
        # In llama.cpp's code, not in the file.
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.0,
        "use_expert_bias": reading.has_in_any_layer("exp_probs_b.bias"),
    }


EPSILON = ("norm_eps", "attention.layer_norm_rms_epsilon")
UNUSED = frozenset({"vocab_size"})

FAMILIES = (
    GGUFFamily(
        "lfm2", "lfm2", "Lfm2ForCausalLM", OUTER, BLOCK, _lfm2, _lengths, norm=EPSILON, ignored_keys=UNUSED
    ),
    GGUFFamily(
        "lfm2moe",
        "lfm2_moe",
        "Lfm2MoeForCausalLM",
        OUTER,
        MIXTURE,
        _mixture,
        _expert_lengths,
        norm=EPSILON,
        ignored_keys=UNUSED,
    ),
)
