"""Families with Llama's layers and q and k as transformers has them: ERNIE 4.5, Seed-OSS, Apertus."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import (
    ATTENTION_NORM,
    FEED_FORWARD,
    FEED_FORWARD_BIASES,
    HEAD_NORMS,
    OUTER,
    OUTPUT_BIAS,
    TWO_NORMS,
    attention,
    attention_biases,
)
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.metadata import Keys

BIASED_ATTENTION = (*attention(), *attention_biases(), OUTPUT_BIAS)
ERNIE_BLOCK = (*BIASED_ATTENTION, *FEED_FORWARD, *FEED_FORWARD_BIASES, *TWO_NORMS)
SEED_BLOCK = (
    *BIASED_ATTENTION,
    *FEED_FORWARD,
    ATTENTION_NORM,
    same("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),
)
APERTUS_BLOCK = (
    *attention(),
    *HEAD_NORMS,
    same("attn_norm.weight", "attention_layernorm.weight", "hidden"),
    same("ffn_norm.weight", "feedforward_layernorm.weight", "hidden"),
    same("ffn_up.weight", "mlp.up_proj.weight", "feed_forward", "hidden"),
    same("ffn_down.weight", "mlp.down_proj.weight", "hidden", "feed_forward"),
)
XIELU = ("alpha_p", "alpha_n", "beta", "eps")
"""Numbers of the activation, by layer."""


def _ernie(config: Config, reading: Reading) -> None:
    config["use_bias"] = reading.has("blk.0.attn_q.bias")


def _seed_oss(config: Config, reading: Reading) -> None:
    config["attention_bias"] = reading.has("blk.0.attn_q.bias")
    config["attention_out_bias"] = reading.has("blk.0.attn_output.bias")
    config["mlp_bias"] = False


def _apertus(config: Config, reading: Reading) -> None:
    config |= {
        "hidden_act": "xielu",
        "attention_bias": False,
        "mlp_bias": False,
        "qk_norm": True,
        "post_norm": False,
    }


def _xielu(reading: Reading) -> dict[str, float]:
    keys = Keys(reading.keys.metadata, "xielu", reading.keys.path)  # without the architecture's name
    return {
        f"model.layers.{layer}.mlp.act_fn.{name}": value
        for name in XIELU
        for layer, value in enumerate(keys.numbers(name, reading.layers))
    }


FAMILIES = (
    GGUFFamily("ernie4_5", "ernie4_5", "Ernie4_5ForCausalLM", OUTER, ERNIE_BLOCK, _ernie),
    GGUFFamily("seed_oss", "seed_oss", "SeedOssForCausalLM", OUTER, SEED_BLOCK, _seed_oss),
    GGUFFamily("apertus", "apertus", "ApertusForCausalLM", OUTER, APERTUS_BLOCK, _apertus, scalars=_xielu),
)
