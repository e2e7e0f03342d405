"""Phi 2, 3 and 4."""

from __future__ import annotations

import functools

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.families.common import (
    EMBEDDING,
    HEAD,
    OUTER,
    TWO_NORMS,
    attention,
    attention_biases,
)
from edgelm_converters.sources.gguf.families.family import LAYER_NORM, Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import usual_lengths
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.settings import refuse_free_heads, rotary_share

PHI2_OUTER = (
    EMBEDDING,
    HEAD,
    same("output.bias", "lm_head.bias", "vocab"),
    same("output_norm.weight", "model.final_layernorm.weight", "hidden"),
    same("output_norm.bias", "model.final_layernorm.bias", "hidden"),
)
PHI2_BLOCK = (
    same("attn_norm.weight", "input_layernorm.weight", "hidden"),
    same("attn_norm.bias", "input_layernorm.bias", "hidden"),
    *attention(output="dense"),
    *attention_biases(),
    same("attn_output.bias", "self_attn.dense.bias", "hidden"),
    same("ffn_up.weight", "mlp.fc1.weight", "feed_forward", "hidden"),
    same("ffn_up.bias", "mlp.fc1.bias", "feed_forward"),
    same("ffn_down.weight", "mlp.fc2.weight", "hidden", "feed_forward"),
    same("ffn_down.bias", "mlp.fc2.bias", "hidden"),
)
PHI3_BLOCK = (
    *TWO_NORMS,
    same("attn_qkv.weight", "self_attn.qkv_proj.weight", "qkv", "hidden"),
    same("attn_output.weight", "self_attn.o_proj.weight", "hidden", "q"),
    same("ffn_up.weight", "mlp.gate_up_proj.weight", "gate_up", "hidden"),
    same("ffn_down.weight", "mlp.down_proj.weight", "hidden", "feed_forward"),
)


def _phi2(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    config["partial_rotary_factor"] = rotary_share(reading)
    config["hidden_act"] = "gelu_new"
    config["qk_layernorm"] = False


def _phi3(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    keys = reading.keys
    scaling = config.get("rope_scaling")
    if scaling is not None and scaling["type"] != "longrope":
        raise UnsupportedError(
            f"{keys.path} is a phi3 with {scaling['type']} rope scaling, expected none or longrope"
        )
    original = keys.size("rope.scaling.original_context_length", config["max_position_embeddings"])
    config["original_max_position_embeddings"] = original
    config["partial_rotary_factor"] = rotary_share(reading)
    config["sliding_window"] = keys.count("attention.sliding_window") or None


LENGTHS = functools.partial(usual_lengths, rotates_all=False)

FAMILIES = (
    GGUFFamily(
        "phi2",
        "phi",
        "PhiForCausalLM",
        PHI2_OUTER,
        PHI2_BLOCK,
        _phi2,
        LENGTHS,
        norm=LAYER_NORM,
        rotates_all=False,
    ),
    GGUFFamily(
        "phi3",
        "phi3",
        "Phi3ForCausalLM",
        OUTER,
        PHI3_BLOCK,
        _phi3,
        LENGTHS,
        rotates_all=False,
        # Follows from the two contexts, by the formula of transformers.
        ignored_keys=frozenset({"rope.scaling.attn_factor"}),
    ),
)
