"""Jamba: Mamba with norms inside, an attention layer now and then, and experts in every so many layers."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import ATTENTION_NORM, EMBEDDING, HEAD, attention
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.hybrid.mixers import (
    attends,
    attention_sizes,
    mamba,
    mamba_lengths,
)
from edgelm_converters.sources.gguf.families.hybrid.patterns import every_nth
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors
from edgelm_converters.sources.gguf.families.rule import Rule, same
from edgelm_converters.sources.gguf.metadata import Keys

OUTER = (EMBEDDING, same("output_norm.weight", "model.final_layernorm.weight", "hidden"), HEAD)


def _feed_forward() -> tuple[Rule, ...]:
    names = (
        ("gate", "feed_forward", "hidden"),
        ("up", "feed_forward", "hidden"),
        ("down", "hidden", "feed_forward"),
    )
    one = (same(f"ffn_{n}.weight", f"feed_forward.{n}_proj.weight", *shape) for n, *shape in names)
    many = (
        same(f"ffn_{n}_exps.weight", f"feed_forward.switch_mlp.{n}_proj.weight", "experts", *shape)
        for n, *shape in names
    )
    return (*one, *many, same("ffn_gate_inp.weight", "feed_forward.router.weight", "experts", "hidden"))


BLOCK = (
    ATTENTION_NORM,
    same("ffn_norm.weight", "pre_ff_layernorm.weight", "hidden"),
    *attention(),
    *mamba("mamba"),
    same("ssm_dt_norm.weight", "mamba.dt_layernorm.weight", "time_rank"),
    same("ssm_b_norm.weight", "mamba.b_layernorm.weight", "state"),
    same("ssm_c_norm.weight", "mamba.c_layernorm.weight", "state"),
    *_feed_forward(),
)


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = mamba_lengths(keys, tensors)
    sizes = attention_sizes(keys, lengths.layers)
    return lengths.joined(**sizes, feed_forward=keys.size("feed_forward_length"), experts=_experts(keys))


def _experts(keys: Keys) -> int:
    many = keys.count("expert_count")
    return many if many > 1 else 0


def _jamba(config: Config, reading: Reading) -> None:
    keys, sizes = reading.keys, reading.lengths.at(0)
    config.pop("rope_theta")
    attention_at = attends(reading)
    period, offset = every_nth(keys, "attention", attention_at)
    experts_at = [reading.has(f"blk.{layer}.ffn_gate_inp.weight") for layer in range(reading.layers)]
    expert_period, expert_offset = every_nth(keys, "experts", experts_at)
    config |= {
        "attn_layer_period": period,
        "attn_layer_offset": offset,
        "expert_layer_period": expert_period,
        "expert_layer_offset": expert_offset,
        "num_experts": sizes["experts"] or 1,
        "num_experts_per_tok": keys.size("expert_used_count", 1),
        "mamba_d_conv": sizes["kernel"],
        "mamba_d_state": sizes["state"],
        "mamba_dt_rank": sizes["time_rank"],
        "mamba_expand": sizes["inner"] // sizes["hidden"],
        "mamba_conv_bias": reading.has_in_any_layer("ssm_conv1d.bias"),
        "mamba_proj_bias": False,
    }


FAMILIES = (GGUFFamily("jamba", "jamba", "JambaForCausalLM", OUTER, BLOCK, _jamba, _lengths),)
