"""Families with layer norms that have biases: StarCoder 2, StableLM, Nemotron."""

from __future__ import annotations

import dataclasses
import functools

from edgelm_converters.sources.gguf.families.common import (
    ATTENTION_NORM,
    EMBEDDING,
    FEED_FORWARD,
    FEED_FORWARD_NORM,
    HEAD,
    NORM,
    OUTPUT_BIAS,
    attention,
    attention_biases,
    with_biases,
)
from edgelm_converters.sources.gguf.families.family import LAYER_NORM, Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import usual_lengths
from edgelm_converters.sources.gguf.families.rule import Rule, same
from edgelm_converters.sources.gguf.families.settings import refuse_free_heads, rotary_share
from edgelm_converters.sources.gguf.families.values import Shifted

OUTER = (EMBEDDING, HEAD, *with_biases(NORM))
NORMS = with_biases(ATTENTION_NORM, FEED_FORWARD_NORM)
BIASED_ATTENTION = (*attention(), *attention_biases(), OUTPUT_BIAS)


def _one_more(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Nemotron's norms multiply by 1 + weight, and llama.cpp stores that; biases are as they are."""
    return tuple(
        dataclasses.replace(rule, values=Shifted(1.0)) if rule.stored[0].name.endswith(".weight") else rule
        for rule in rules
    )


STARCODER2_BLOCK = (
    *BIASED_ATTENTION,
    *NORMS,
    *with_biases(
        same("ffn_up.weight", "mlp.c_fc.weight", "feed_forward", "hidden"),
        same("ffn_down.weight", "mlp.c_proj.weight", "hidden", "feed_forward"),
    ),
)
STABLELM_BLOCK = (
    *attention(),
    *attention_biases(),
    *NORMS,
    *FEED_FORWARD,
    same("attn_q_norm.weight", "self_attn.q_layernorm.norms.*.weight", "heads", "head"),
    same("attn_k_norm.weight", "self_attn.k_layernorm.norms.*.weight", "kv_heads", "head"),
)
NEMOTRON_BLOCK = (
    *BIASED_ATTENTION,
    *_one_more(NORMS),
    *with_biases(
        same("ffn_up.weight", "mlp.up_proj.weight", "feed_forward", "hidden"),
        same("ffn_down.weight", "mlp.down_proj.weight", "hidden", "feed_forward"),
    ),
)


def _starcoder2(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    config |= {"use_bias": True, "hidden_act": "gelu_pytorch_tanh"}


def _stablelm(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    reading.keys.flag("use_parallel_residual", True)  # llama.cpp goes by the norm
    config |= {
        "use_qkv_bias": reading.has("blk.0.attn_q.bias"),
        "use_parallel_residual": not reading.has("blk.0.ffn_norm.weight"),
        "qk_layernorm": reading.has("blk.0.attn_q_norm.weight"),
        "partial_rotary_factor": rotary_share(reading),
    }


def _nemotron(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    config |= {
        "hidden_act": "relu2",
        "attention_bias": reading.has("blk.0.attn_q.bias"),
        "mlp_bias": reading.has("blk.0.ffn_up.bias"),
        "partial_rotary_factor": rotary_share(reading),
    }


PARTLY = functools.partial(usual_lengths, rotates_all=False)

FAMILIES = (
    GGUFFamily(
        "starcoder2",
        "starcoder2",
        "Starcoder2ForCausalLM",
        OUTER,
        STARCODER2_BLOCK,
        _starcoder2,
        norm=("norm_epsilon", LAYER_NORM[1]),
    ),
    GGUFFamily(
        "stablelm",
        "stablelm",
        "StableLmForCausalLM",
        OUTER,
        STABLELM_BLOCK,
        _stablelm,
        PARTLY,
        norm=LAYER_NORM,
        rotates_all=False,
    ),
    GGUFFamily(
        "nemotron",
        "nemotron",
        "NemotronForCausalLM",
        (EMBEDDING, HEAD, *_one_more(with_biases(NORM))),
        NEMOTRON_BLOCK,
        _nemotron,
        PARTLY,
        norm=("norm_eps", LAYER_NORM[1]),
        rotates_all=False,
    ),
)
