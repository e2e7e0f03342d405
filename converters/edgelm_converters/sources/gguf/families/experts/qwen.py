"""Qwen 2 and 3 with experts, OLMoE: attention as in the dense ones, experts in every layer."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import (
    HEAD_NORMS,
    OUTER,
    SHARED_EXPERT_GATE,
    TWO_NORMS,
    attention,
    attention_biases,
    experts,
    router,
    shared_expert,
)
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, expert_lengths
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.settings import expert_settings, refuse_free_heads
from edgelm_converters.sources.gguf.metadata import Keys

EXPERTS = (*router("mlp.gate.weight"), *experts())
QWEN2_BLOCK = (
    *attention(),
    *attention_biases(),
    *EXPERTS,
    *shared_expert("mlp.shared_expert"),
    SHARED_EXPERT_GATE,
    *TWO_NORMS,
)
QWEN3_BLOCK = (*attention(), *HEAD_NORMS, *EXPERTS, *TWO_NORMS)
OLMOE_BLOCK = (
    *attention(),
    same("attn_q_norm.weight", "self_attn.q_norm.weight", "q"),
    same("attn_k_norm.weight", "self_attn.k_norm.weight", "kv"),
    *EXPERTS,
    *TWO_NORMS,
)


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    """The lengths of experts; without a width of their own, those that are used share the width of a dense block."""
    lengths = expert_lengths(keys, tensors)
    if keys.has("expert_feed_forward_length") or not lengths["experts"]:
        return lengths
    width = lengths["feed_forward"] // keys.size("expert_used_count")
    return lengths.joined(expert=width)


def _qwen2_lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = _lengths(keys, tensors)
    return lengths if lengths["shared"] else lengths.joined(shared=lengths["feed_forward"])


def _everywhere(config: Config, reading: Reading) -> None:
    config |= expert_settings(
        reading, count="num_experts", used="num_experts_per_tok", width="moe_intermediate_size"
    )
    config |= {"decoder_sparse_step": 1, "mlp_only_layers": []}


def _qwen2moe(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    _everywhere(config, reading)
    config["shared_expert_intermediate_size"] = reading.lengths["shared"]
    # llama.cpp's graph of Qwen 2 does not make the chosen weights add up to one, that of Qwen 3 does.
    config["norm_topk_prob"] = False


def _qwen3moe(config: Config, reading: Reading) -> None:
    _everywhere(config, reading)
    config |= {"norm_topk_prob": True, "attention_bias": False}


def _olmoe(config: Config, reading: Reading) -> None:
    config |= expert_settings(
        reading, count="num_experts", used="num_experts_per_tok", width="intermediate_size"
    )
    config["norm_topk_prob"] = False


FAMILIES = (
    GGUFFamily("qwen2moe", "qwen2_moe", "Qwen2MoeForCausalLM", OUTER, QWEN2_BLOCK, _qwen2moe, _qwen2_lengths),
    GGUFFamily("qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM", OUTER, QWEN3_BLOCK, _qwen3moe, _lengths),
    GGUFFamily("olmoe", "olmoe", "OlmoeForCausalLM", OUTER, OLMOE_BLOCK, _olmoe, expert_lengths),
)
