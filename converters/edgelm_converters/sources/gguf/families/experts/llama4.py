"""Llama 4: one expert of many in every n-th layer, beside one that all tokens pass; every fourth layer has no positions."""

from __future__ import annotations

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.families.common import (
    TWO_NORMS,
    attention,
    experts,
    router,
    shared_expert,
)
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, expert_lengths
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.settings import expert_settings, refuse_other_base, wrap
from edgelm_converters.sources.gguf.metadata import Keys

OUTER = (
    same("token_embd.weight", "language_model.model.embed_tokens.weight", "vocab", "hidden"),
    same("output_norm.weight", "language_model.model.norm.weight", "hidden"),
    same("output.weight", "language_model.lm_head.weight", "vocab", "hidden"),
)
BLOCK = (
    *attention(),
    *TWO_NORMS,
    same("ffn_gate.weight", "feed_forward.gate_proj.weight", "feed_forward", "hidden"),
    same("ffn_up.weight", "feed_forward.up_proj.weight", "feed_forward", "hidden"),
    same("ffn_down.weight", "feed_forward.down_proj.weight", "hidden", "feed_forward"),
    *router("feed_forward.router.weight"),
    *experts("feed_forward.experts"),
    *shared_expert("feed_forward.shared_expert"),
)
UNNORMALISED = 128
"""llama.cpp knows Maverick, which alone has no norms of q and k, by its number of experts."""


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = expert_lengths(keys, tensors)
    return lengths.joined(shared=lengths["expert"] if lengths["experts"] else 0)


def _llama4(config: Config, reading: Reading) -> None:
    keys, lengths = reading.keys, reading.lengths
    if not lengths["experts"] or keys.raw("attention.sliding_window") == 0:
        raise UnsupportedError(
            f"{keys.path} is a llama4 without experts or chunks, expected Scout or Maverick"
        )
    refuse_other_base(reading)
    settings = expert_settings(
        reading, count="num_local_experts", used="num_experts_per_tok", width="intermediate_size"
    )
    if settings["num_experts_per_tok"] != 1:
        raise UnsupportedError(
            f"{keys.path} uses {settings['num_experts_per_tok']} experts a token, expected one"
        )
    config |= settings
    config |= {
        "model_type": "llama4_text",
        "intermediate_size_mlp": lengths["feed_forward"],
        "interleave_moe_layer_step": keys.size("interleave_moe_layer_step"),
        "use_qk_norm": lengths["experts"] != UNNORMALISED,
        "attention_bias": False,
        "no_rope_layers": [int((layer + 1) % 4 != 0) for layer in range(reading.layers)],
        # What follows is in llama.cpp's code.
        "attention_chunk_size": 8192,
        "attn_temperature_tuning": True,
        "floor_scale": 8192,
        "attn_scale": 0.1,
    }
    config.setdefault("rope_scaling", None)
    wrap(config, "llama4", "Llama4ForConditionalGeneration")


FAMILIES = (
    GGUFFamily(
        "llama4",
        "llama4",
        "Llama4ForConditionalGeneration",
        OUTER,
        BLOCK,
        _llama4,
        _lengths,
        prefix="language_model.model.layers.",
    ),
)
