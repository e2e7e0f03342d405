"""Families whose experts are weighed by sigmoids, with a bias for the choice: dots.llm1, MiniMax M2, Trinity (AFMoE)."""

from __future__ import annotations

import functools

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.families.common import (
    ATTENTION_NORM,
    FEED_FORWARD,
    HEAD_NORMS,
    OUTER,
    TWO_NORMS,
    attention,
    experts,
    router,
    shared_expert,
)
from edgelm_converters.sources.gguf.families.experts.glm import grouped_experts
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import expert_lengths
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.settings import (
    layer_types,
    refuse_other_base,
    rotary_share,
    windowed_layers,
)

DOTS1_BLOCK = (
    *attention(),
    *HEAD_NORMS,
    *TWO_NORMS,
    *FEED_FORWARD,
    *router("mlp.gate.weight", "mlp.gate.e_score_correction_bias"),
    *experts("mlp.experts"),
    *shared_expert("mlp.shared_experts"),
)
MINIMAX_BLOCK = (
    *attention(),
    same("attn_q_norm.weight", "self_attn.q_norm.weight", "q"),
    same("attn_k_norm.weight", "self_attn.k_norm.weight", "kv"),
    *TWO_NORMS,
    *router("block_sparse_moe.gate.weight", "block_sparse_moe.e_score_correction_bias"),
    *experts("block_sparse_moe.switch_mlp"),
)
AFMOE_BLOCK = (
    *attention(),
    *HEAD_NORMS,
    same("attn_gate.weight", "self_attn.gate_proj.weight", "q", "hidden"),
    ATTENTION_NORM,
    same("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),
    same("ffn_norm.weight", "pre_mlp_layernorm.weight", "hidden"),
    same("post_ffw_norm.weight", "post_mlp_layernorm.weight", "hidden"),
    *FEED_FORWARD,
    *router("mlp.router.gate.weight", "mlp.expert_bias"),
    *experts("mlp.experts"),
    *shared_expert("mlp.shared_experts"),
)


def _dots1(config: Config, reading: Reading) -> None:
    config |= grouped_experts(reading)
    config |= {"attention_bias": False, "mlp_bias": False}


def _minimax(config: Config, reading: Reading) -> None:
    found = grouped_experts(reading)
    if found["n_shared_experts"] or found["routed_scaling_factor"] != 1 or found["n_group"] > 1:
        raise UnsupportedError(
            f"{reading.keys.path} is a minimax-m2 with shared or grouped experts, expected neither"
        )
    head = reading.lengths["head"]
    config |= {
        "num_local_experts": found["n_routed_experts"],
        "num_experts_per_tok": found["num_experts_per_tok"],
        "intermediate_size": found["moe_intermediate_size"],
        "shared_intermediate_size": 0,
        "rotary_dim": round(rotary_share(reading) * head),
        "scoring_func": "sigmoid",
        "use_qk_norm": True,
    }


def _afmoe(config: Config, reading: Reading) -> None:
    refuse_other_base(reading)
    found = grouped_experts(reading)
    window = reading.keys.count("attention.sliding_window")
    flags = windowed_layers(reading, 4) if window else [False] * reading.layers
    config |= {
        "num_experts": found["n_routed_experts"],
        "num_experts_per_tok": found["num_experts_per_tok"],
        "moe_intermediate_size": found["moe_intermediate_size"],
        "num_shared_experts": found["n_shared_experts"],
        "num_dense_layers": found["first_k_dense_replace"],
        "route_norm": found["norm_topk_prob"],
        "route_scale": found["routed_scaling_factor"],
        "score_func": "sigmoid",
        "n_group": found["n_group"],
        "topk_group": found["topk_group"],
        "sliding_window": window or config["max_position_embeddings"],
        "layer_types": layer_types(flags),
        "mup_enabled": True,  # embeddings times the root of their width, in llama.cpp's code
    }


FAMILIES = (
    GGUFFamily("dots1", "dots1", "Dots1ForCausalLM", OUTER, DOTS1_BLOCK, _dots1, expert_lengths),
    GGUFFamily(
        "minimax-m2",
        "minimax_m2",
        "MiniMaxM2ForCausalLM",
        OUTER,
        MINIMAX_BLOCK,
        _minimax,
        functools.partial(expert_lengths, rotates_all=False),
        rotates_all=False,
    ),
    GGUFFamily("afmoe", "afmoe", "AfmoeForCausalLM", OUTER, AFMOE_BLOCK, _afmoe, expert_lengths),
)
