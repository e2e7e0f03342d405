"""Nemotron-H: every layer is one thing, Mamba-2, attention, a feed-forward block or experts.

Which one, the file says by two lists: layers of attention have heads of keys, feed-forward ones a width, recurrent ones
neither.
Positions are not rotated; q and k are stored permuted all the same.
"""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import HEAD
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.hybrid.mixers import (
    attends,
    attention_sizes,
    mamba2,
    mamba2_lengths,
    shared_size,
)
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors
from edgelm_converters.sources.gguf.families.rows import permuted
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.metadata import Keys

OUTER = (
    same("token_embd.weight", "backbone.embeddings.weight", "vocab", "hidden"),
    same("output_norm.weight", "backbone.norm_f.weight", "hidden"),
    HEAD,
)
BLOCK = (
    same("attn_norm.weight", "norm.weight", "hidden"),
    *mamba2("mixer"),
    same("attn_q.weight", "mixer.q_proj.weight", "q", "hidden", rows=permuted("heads")),
    same("attn_k.weight", "mixer.k_proj.weight", "kv", "hidden", rows=permuted("kv_heads")),
    same("attn_v.weight", "mixer.v_proj.weight", "kv", "hidden"),
    same("attn_output.weight", "mixer.o_proj.weight", "hidden", "q"),
    same("ffn_up.weight", "mixer.up_proj.weight", "feed_forward", "hidden"),
    same("ffn_down.weight", "mixer.down_proj.weight", "hidden", "feed_forward"),
)
EXPERTS = (
    same("ffn_gate_inp.weight", "mixer.gate.weight", "experts", "hidden"),
    same("exp_probs_b.bias", "mixer.gate.e_score_correction_bias", "experts"),
    same("ffn_up_exps.weight", "mixer.switch_mlp.fc1.weight", "experts", "expert", "latent"),
    same("ffn_down_exps.weight", "mixer.switch_mlp.fc2.weight", "experts", "latent", "expert"),
    same("ffn_up_shexp.weight", "mixer.shared_experts.up_proj.weight", "shared", "hidden"),
    same("ffn_down_shexp.weight", "mixer.shared_experts.down_proj.weight", "hidden", "shared"),
    same("ffn_latent_down.weight", "mixer.fc1_latent_proj.weight", "latent", "hidden"),
    same("ffn_latent_up.weight", "mixer.fc2_latent_proj.weight", "hidden", "latent"),
)


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = mamba2_lengths(keys, tensors)
    width = shared_size(keys, "feed_forward_length", lengths.layers)
    return lengths.joined(**attention_sizes(keys, lengths.layers), feed_forward=width)


def _expert_lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = _lengths(keys, tensors)
    hidden = lengths["hidden"]
    return lengths.joined(
        experts=shared_size(keys, "expert_count", lengths.layers),
        expert=shared_size(keys, "expert_feed_forward_length", lengths.layers),
        shared=keys.size("expert_shared_feed_forward_length"),
        latent=keys.size("moe_latent_size", hidden),
        feed_forward=0,
    )


def _nemotron(config: Config, reading: Reading) -> None:
    keys, sizes = reading.keys, reading.lengths.at(0)
    config.pop("rope_theta")
    widths = keys.sizes("feed_forward_length", reading.layers, least=0)
    config |= {
        # Two keys for one number, of which llama.cpp prefers this.
        "layer_norm_epsilon": keys.positive("attention.layer_norm_rms_epsilon", config["layer_norm_epsilon"]),
        "layers_block_type": [
            "attention" if attention else ("mlp" if width else "mamba")
            for attention, width in zip(attends(reading), widths, strict=True)
        ],
        "attention_bias": False,
        "mlp_bias": False,
        "use_bias": False,
        "mamba_proj_bias": False,
        "use_conv_bias": reading.has_in_any_layer("ssm_conv1d.bias"),
        "mamba_num_heads": sizes["ssm_heads"],
        "mamba_head_dim": sizes["ssm_head"],
        "ssm_state_size": sizes["state"],
        "conv_kernel": sizes["kernel"],
        "n_groups": sizes["groups"],
        "expand": sizes["inner"] // sizes["hidden"],
        "time_step_limit": [0.0, float("inf")],
        "mlp_hidden_act": "relu2",
    }


def _mixture(config: Config, reading: Reading) -> None:
    keys, sizes = reading.keys, reading.lengths.at(0)
    _nemotron(config, reading)
    kinds = config["layers_block_type"]
    config["layers_block_type"] = ["moe" if kind == "mlp" else kind for kind in kinds]
    config |= {
        "n_routed_experts": sizes["experts"],
        "n_shared_experts": keys.size("expert_shared_count", 1),
        "num_experts_per_tok": shared_size(keys, "expert_used_count", reading.layers),
        "intermediate_size": sizes["expert"],
        "moe_intermediate_size": sizes["expert"],
        "moe_shared_expert_intermediate_size": sizes["shared"],
        "moe_latent_size": keys.size("moe_latent_size") if keys.has("moe_latent_size") else None,
        "norm_topk_prob": keys.flag("expert_weights_norm", False),
        "routed_scaling_factor": keys.positive("expert_weights_scale", 1.0),
        "n_group": keys.size("expert_group_count", 1),
        "topk_group": keys.size("expert_group_used_count", 1),
    }


UNUSED = frozenset({"vocab_size", "rope.scaling.finetuned"})
EPSILON = ("layer_norm_epsilon", "attention.layer_norm_epsilon")

FAMILIES = (
    GGUFFamily(
        "nemotron_h",
        "nemotron_h",
        "NemotronHForCausalLM",
        OUTER,
        BLOCK,
        _nemotron,
        _lengths,
        prefix="backbone.layers.",
        norm=EPSILON,
        rotates_all=False,
        ignored_keys=UNUSED,
    ),
    GGUFFamily(
        "nemotron_h_moe",
        "nemotron_h",
        "NemotronHForCausalLM",
        OUTER,
        (*BLOCK, *EXPERTS),
        _mixture,
        _expert_lengths,
        prefix="backbone.layers.",
        norm=EPSILON,
        rotates_all=False,
        ignored_keys=UNUSED,
    ),
)
