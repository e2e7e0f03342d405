"""ERNIE 4.5 with experts, weighed by softmax, with a bias for the choice."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import (
    FEED_FORWARD,
    OUTER,
    TWO_NORMS,
    attention,
    experts,
    router,
    shared_expert,
)
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, expert_lengths
from edgelm_converters.sources.gguf.families.settings import expert_settings
from edgelm_converters.sources.gguf.metadata import Keys

BLOCK = (
    *attention(),
    *TWO_NORMS,
    *FEED_FORWARD,
    *router("mlp.gate.weight", "mlp.moe_statics.e_score_correction_bias"),
    *experts(),
    *shared_expert("mlp.shared_experts"),
)


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    """The shared experts' width follows from their number: the converter's key divides another width by the number of heads."""
    lengths = expert_lengths(keys, tensors)
    if not lengths["experts"]:
        return lengths
    keys.count("expert_shared_feed_forward_length")
    return lengths.joined(shared=lengths["expert"] * keys.count("expert_shared_count"))


def _ernie(config: Config, reading: Reading) -> None:
    keys = reading.keys
    config |= expert_settings(reading, count="moe_num_experts", used="moe_k", width="moe_intermediate_size")
    config |= {
        "use_bias": False,
        "moe_num_shared_experts": keys.count("expert_shared_count"),
        "moe_layer_start_index": keys.count("leading_dense_block_count"),
        "moe_layer_end_index": reading.layers - 1,
        "moe_layer_interval": keys.size("interleave_moe_layer_step", 1),
        "moe_gate_act": "softmax",
        "moe_use_aux_free": reading.has_in_any_layer("exp_probs_b.bias"),
    }


FAMILIES = (
    GGUFFamily("ernie4_5-moe", "ernie4_5_moe", "Ernie4_5_MoeForCausalLM", OUTER, BLOCK, _ernie, _lengths),
)
