"""Gemma 1, 2 and 3.

Norms multiply by 1 + weight; llama.cpp stores 1 + weight. Attention's scale is in its code: by the largest model's depth.
"""

from __future__ import annotations

import dataclasses

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.families.common import (
    ATTENTION_NORM,
    EMBEDDING,
    FEED_FORWARD,
    HEAD,
    HEAD_NORMS,
    NORM,
    TWO_NORMS,
    attention,
)
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import Lengths
from edgelm_converters.sources.gguf.families.rule import Rule, same
from edgelm_converters.sources.gguf.families.settings import layer_types
from edgelm_converters.sources.gguf.families.values import Shifted

FOUR_NORMS = (
    ATTENTION_NORM,
    same("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),
    same("ffn_norm.weight", "pre_feedforward_layernorm.weight", "hidden"),
    same("post_ffw_norm.weight", "post_feedforward_layernorm.weight", "hidden"),
)


def _shifted(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return tuple(dataclasses.replace(rule, values=Shifted(1.0)) for rule in rules)


OUTER = (EMBEDDING, *_shifted((NORM,)))
GEMMA_BLOCK = (*attention(), *FEED_FORWARD, *_shifted(TWO_NORMS))
GEMMA2_BLOCK = (*attention(), *FEED_FORWARD, *_shifted(FOUR_NORMS))
GEMMA3_BLOCK = (*GEMMA2_BLOCK, *_shifted(HEAD_NORMS))


def _gemma(config: Config, reading: Reading) -> None:
    # Gemma's configs say "gelu" and mean its tanh form, which llama.cpp computes.
    config["hidden_act"] = config["hidden_activation"] = "gelu_pytorch_tanh"


def _gemma2(config: Config, reading: Reading) -> None:
    keys = reading.keys
    config["query_pre_attn_scalar"] = query_scalar(reading.lengths, largest_layers=46)
    config["sliding_window"] = keys.size("attention.sliding_window", 4096)
    config["attn_logit_softcapping"] = keys.positive("attn_logit_softcapping", 50.0)
    config["final_logit_softcapping"] = keys.positive("final_logit_softcapping", 30.0)


def _gemma3(config: Config, reading: Reading) -> None:
    keys = reading.keys
    config["query_pre_attn_scalar"] = query_scalar(reading.lengths, largest_layers=62)
    config["rope_local_base_freq"] = keys.positive("rope.freq_base_swa", 10000.0)
    if keys.has("final_logit_softcapping"):
        raise UnsupportedError(
            f"{keys.path} is a gemma3 with soft-capped logits, which mlx-lm's gemma3 lacks"
        )
    window = keys.count("attention.sliding_window")
    # Without a window every layer sees everything; a window without a pattern means every sixth does.
    config["sliding_window"] = window or config["max_position_embeddings"]
    pattern = sliding_period(reading) if window else 1
    config["sliding_window_pattern"] = pattern
    config["layer_types"] = layer_types([bool((layer + 1) % pattern) for layer in range(reading.layers)])


def sliding_period(reading: Reading, default: int = 6) -> int:
    """Find every how many layers one sees everything.

    Raises:
        UnsupportedError: the layers with windows have no such period.
    """
    said = reading.keys.flags_or_period("attention.sliding_window_pattern", reading.layers, default)
    if not isinstance(said, list):
        return said
    period = said.index(False) + 1 if False in said else 0
    if not period or said != [bool((layer + 1) % period) for layer in range(reading.layers)]:
        raise UnsupportedError(
            f"{reading.keys.path} has windows on layers {said}, expected all but every n-th"
        )
    return period


def query_scalar(lengths: Lengths, largest_layers: int) -> int:
    """Find what Gemma divides attention scores by the root of: llama.cpp knows the largest model by its depth."""
    is_largest = lengths.layers == largest_layers
    return lengths["hidden"] // lengths["heads"] if is_largest else lengths["head"]


FAMILIES = (
    GGUFFamily("gemma", "gemma", "GemmaForCausalLM", OUTER, GEMMA_BLOCK, _gemma),
    GGUFFamily("gemma2", "gemma2", "Gemma2ForCausalLM", OUTER, GEMMA2_BLOCK, _gemma2),
    GGUFFamily("gemma3", "gemma3_text", "Gemma3ForCausalLM", (*OUTER, HEAD), GEMMA3_BLOCK, _gemma3),
)
