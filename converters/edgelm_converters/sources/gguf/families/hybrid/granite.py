"""Granite 4: Mamba-2, an attention layer now and then, and a feed-forward block or experts behind each.

The file's `rope.scaling.finetuned` is a switch: whether positions are rotated at all.
"""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import (
    FEED_FORWARD,
    OUTER,
    TWO_NORMS,
    attention,
    experts,
    router,
)
from edgelm_converters.sources.gguf.families.dense.granite import SHARED
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.hybrid.mixers import (
    attends,
    attention_sizes,
    mamba2,
    mamba2_lengths,
)
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors
from edgelm_converters.sources.gguf.families.rows import permuted
from edgelm_converters.sources.gguf.metadata import Keys

BLOCK = (
    *TWO_NORMS,
    *attention(permuted("heads"), permuted("kv_heads")),
    *mamba2("mamba"),
    *FEED_FORWARD,
    *router("block_sparse_moe.router.layer.weight"),
    *experts("block_sparse_moe.switch_mlp"),
    *SHARED,
)


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = mamba2_lengths(keys, tensors)
    width, many = keys.size("feed_forward_length"), keys.count("expert_count")
    shared = keys.count("expert_shared_feed_forward_length") or width
    if many:
        sizes = {"experts": many, "expert": width, "shared": shared, "shared_gate_up": 2 * shared}
    else:  # the block that is shared is the only one
        sizes = {"feed_forward": shared}
    return lengths.joined(**attention_sizes(keys, lengths.layers), **sizes)


def _granite(config: Config, reading: Reading) -> None:
    keys, sizes = reading.keys, reading.lengths.at(0)
    rotated = keys.flag("rope.scaling.finetuned", True)
    many, width = sizes.get("experts", 0), sizes.get("expert") or sizes["feed_forward"]
    config |= {
        "position_embedding_type": "rope" if rotated else "nope",
        "layer_types": ["attention" if each else "mamba" for each in attends(reading)],
        "attention_bias": False,
        "mlp_bias": False,
        "attention_multiplier": keys.positive("attention.scale", sizes["head"] ** -0.5),
        "embedding_multiplier": keys.positive("embedding_scale", 1.0),
        "residual_multiplier": keys.positive("residual_scale", 1.0),
        "logits_scaling": keys.positive("logit_scale", 1.0),
        "intermediate_size": width,
        "shared_intermediate_size": sizes["shared"] if many else width,
        "num_local_experts": many,
        "num_experts_per_tok": keys.size("expert_used_count") if many else keys.count("expert_used_count"),
        "mamba_conv_bias": reading.has_in_any_layer("ssm_conv1d.bias"),
        "mamba_proj_bias": False,
        "mamba_d_conv": sizes["kernel"],
        "mamba_d_head": sizes["ssm_head"],
        "mamba_d_state": sizes["state"],
        "mamba_expand": sizes["inner"] // sizes["hidden"],
        "mamba_n_groups": sizes["groups"],
        "mamba_n_heads": sizes["ssm_heads"],
        "time_step_limit": [0.0, float("inf")],
    }


FAMILIES = (
    GGUFFamily(
        "granitehybrid",
        "granitemoehybrid",
        "GraniteMoeHybridForCausalLM",
        OUTER,
        BLOCK,
        _granite,
        _lengths,
        ignored_keys=frozenset({"vocab_size"}),
    ),
)
