"""Llama and what descends from it: Mistral, Mixtral, SmolLM3.

llama.cpp rotates neighbouring dimensions where transformers rotates the two halves of a head, so q and k are stored permuted.
"""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import (
    FEED_FORWARD,
    FEED_FORWARD_BIASES,
    OUTER,
    OUTPUT_BIAS,
    TWO_NORMS,
    attention,
    attention_biases,
    experts,
    router,
)
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import expert_lengths
from edgelm_converters.sources.gguf.families.rows import permuted
from edgelm_converters.sources.gguf.families.settings import expert_settings, refuse_free_heads

Q, K = permuted("heads"), permuted("kv_heads")
ATTENTION = (*attention(Q, K), *attention_biases(Q, K), OUTPUT_BIAS)
BLOCK = (*ATTENTION, *FEED_FORWARD, *FEED_FORWARD_BIASES, *TWO_NORMS)
MIXTURE = (*router("block_sparse_moe.gate.weight"), *experts("block_sparse_moe.switch_mlp"))


def biases(config: Config, reading: Reading) -> None:
    """Say which layers have biases."""
    config["attention_bias"] = reading.has("blk.0.attn_q.bias")
    config["mlp_bias"] = reading.has("blk.0.ffn_up.bias")


def _llama(config: Config, reading: Reading) -> None:
    if not reading.lengths.get("experts"):
        biases(config, reading)
        return
    refuse_free_heads(reading)
    config |= expert_settings(
        reading, count="num_local_experts", used="num_experts_per_tok", width="intermediate_size"
    )
    config |= {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}


def _smollm3(config: Config, reading: Reading) -> None:
    biases(config, reading)
    # Every fourth layer has no positions, in llama.cpp's code.
    config["no_rope_layer_interval"] = 4
    config["no_rope_layers"] = [int((layer + 1) % 4 != 0) for layer in range(reading.layers)]


def _mistral3(config: Config, reading: Reading) -> None:
    keys = reading.keys
    scaling = config.pop("rope_scaling", {"rope_type": "default", "type": "default"})
    config["rope_parameters"] = {
        "original_max_position_embeddings": config["max_position_embeddings"],
        **scaling,
        "rope_theta": config["rope_theta"],
        "mscale": 1.0,
        "mscale_all_dim": keys.number("rope.scaling.yarn_log_multiplier", 0.0),
        "llama_4_scaling_beta": keys.number("attention.temperature_scale", 0.0),
    }


FAMILIES = (
    GGUFFamily(
        "llama", "llama", "LlamaForCausalLM", OUTER, (*BLOCK, *MIXTURE), _llama, lengths=expert_lengths
    ),
    GGUFFamily("smollm3", "smollm3", "SmolLM3ForCausalLM", OUTER, BLOCK, _smollm3),
    GGUFFamily("mistral3", "ministral3", "Ministral3ForCausalLM", OUTER, BLOCK, _mistral3),
)
