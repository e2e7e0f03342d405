"""GLM 4, dense and with experts: positions on a part of each head."""

from __future__ import annotations

import functools

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.families.common import (
    ATTENTION_NORM,
    FEED_FORWARD,
    HEAD_NORMS,
    OUTER,
    attention,
    attention_biases,
    experts,
    router,
    shared_expert,
)
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import expert_lengths, usual_lengths
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.settings import expert_settings, rotary_share

SOFTMAX, SIGMOID = 1, 2
"""llama.cpp's numbers of the functions that weigh experts."""

GLM4_BLOCK = (
    ATTENTION_NORM,
    *attention(),
    *attention_biases(),
    same("post_attention_norm.weight", "post_self_attn_layernorm.weight", "hidden"),
    same("ffn_norm.weight", "post_attention_layernorm.weight", "hidden"),
    same("ffn_up.weight", "mlp.gate_up_proj.weight", "gate_up", "hidden"),
    same("ffn_down.weight", "mlp.down_proj.weight", "hidden", "feed_forward"),
    same("post_ffw_norm.weight", "post_mlp_layernorm.weight", "hidden"),
)
GLM4_MOE_BLOCK = (
    ATTENTION_NORM,
    *attention(),
    *attention_biases(),
    *HEAD_NORMS,
    same("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),
    *FEED_FORWARD,
    *router("mlp.gate.weight", "mlp.gate.e_score_correction_bias"),
    *experts(),
    *shared_expert("mlp.shared_experts"),
)


def _glm4(config: Config, reading: Reading) -> None:
    config["attention_bias"] = reading.has("blk.0.attn_q.bias") or reading.has("blk.0.attn_qkv.bias")
    config["partial_rotary_factor"] = rotary_share(reading)


def grouped_experts(reading: Reading, function: int = SIGMOID) -> Config:
    """Return what DeepSeek and those after it say of experts: weighed by `function`, in groups, behind dense layers.

    Raises:
        UnsupportedError: they are weighed by another function.
    """
    keys = reading.keys
    said = keys.count("expert_gating_func")
    if said not in (0, function):
        raise UnsupportedError(f"{keys.path} weighs experts by function {said}, expected {function}")
    names = {"count": "n_routed_experts", "used": "num_experts_per_tok", "width": "moe_intermediate_size"}
    return {
        **expert_settings(reading, **names),
        "n_shared_experts": keys.count("expert_shared_count"),
        "first_k_dense_replace": keys.count("leading_dense_block_count"),
        "routed_scaling_factor": keys.positive("expert_weights_scale", 1.0),
        "norm_topk_prob": keys.flag("expert_weights_norm", False),
        "n_group": keys.size("expert_group_count", 1),
        "topk_group": keys.size("expert_group_used_count", 1),
        "scoring_func": "sigmoid" if function == SIGMOID else "softmax",
    }


def _glm4moe(config: Config, reading: Reading) -> None:
    config |= grouped_experts(reading)
    config |= {
        "attention_bias": reading.has("blk.0.attn_q.bias") or reading.has("blk.0.attn_qkv.bias"),
        "use_qk_norm": reading.has("blk.0.attn_q_norm.weight"),
        "partial_rotary_factor": rotary_share(reading),
    }


FAMILIES = (
    GGUFFamily(
        "glm4",
        "glm4",
        "Glm4ForCausalLM",
        OUTER,
        GLM4_BLOCK,
        _glm4,
        functools.partial(usual_lengths, rotates_all=False),
        rotates_all=False,
    ),
    GGUFFamily(
        "glm4moe",
        "glm4_moe",
        "Glm4MoeForCausalLM",
        OUTER,
        GLM4_MOE_BLOCK,
        _glm4moe,
        functools.partial(expert_lengths, rotates_all=False),
        rotates_all=False,
    ),
)
