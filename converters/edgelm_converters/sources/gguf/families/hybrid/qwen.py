"""Qwen3-Next and Qwen3.5: three layers of gated delta nets, then one of gated attention; feed-forward blocks or experts.

Norms are stored as their networks multiply (1 + weight), which is how mlx-lm keeps them once it has sanitized.
"""

from __future__ import annotations

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.gguf.families.common import FEED_FORWARD, HEAD_NORMS, OUTER, experts
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.hybrid.mixers import depthwise
from edgelm_converters.sources.gguf.families.hybrid.orders import INTERLEAVED, RowsThen, tiled
from edgelm_converters.sources.gguf.families.hybrid.patterns import every_nth
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, expert_lengths, usual_lengths
from edgelm_converters.sources.gguf.families.rule import Rule, merged, same
from edgelm_converters.sources.gguf.families.settings import expert_settings, rotary_share
from edgelm_converters.sources.gguf.families.values import ColumnsMoved, NegatedExponential, Reshaped
from edgelm_converters.sources.gguf.metadata import Keys

COMMON = (
    same("attn_norm.weight", "input_layernorm.weight", "hidden"),
    same("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),
    same("attn_q.weight", "self_attn.q_proj.weight", "q_gate", "hidden"),
    same("attn_k.weight", "self_attn.k_proj.weight", "kv", "hidden"),
    same("attn_v.weight", "self_attn.v_proj.weight", "kv", "hidden"),
    same("attn_output.weight", "self_attn.o_proj.weight", "hidden", "q"),
    *HEAD_NORMS,
    same("ssm_norm.weight", "linear_attn.norm.weight", "v_head"),
)
MIXTURE = (
    same("ffn_gate_inp.weight", "mlp.gate.weight", "experts", "hidden"),
    *experts(),
    same("ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj.weight", "shared", "hidden"),
    same("ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight", "shared", "hidden"),
    same("ffn_down_shexp.weight", "mlp.shared_expert.down_proj.weight", "hidden", "shared"),
    same("ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight", 1, "hidden"),
)
NEXT = (
    *COMMON,
    # As the first converters stored it.
    same(
        "ssm_in.weight",
        "linear_attn.in_proj_qkvz.weight",
        "qkvz_as_one",
        "hidden",
        becomes=("qkvz", "hidden"),
    ),
    merged(
        "linear_attn.in_proj_qkvz.weight",
        ("qkvz", "hidden"),
        ("attn_qkv.weight", ("channels", "hidden")),
        ("attn_gate.weight", ("v", "hidden")),
        rows=INTERLEAVED,
    ),
    same("ssm_ba.weight", "linear_attn.in_proj_ba.weight", "two_v_heads", "hidden"),
    same("ssm_a", "linear_attn.A_log", "v_heads", values=NegatedExponential()),
    same("ssm_dt.bias", "linear_attn.dt_bias", "v_heads"),
    depthwise("ssm_conv1d.weight", "linear_attn.conv1d.weight", "channels"),
    same("ssm_out.weight", "linear_attn.out_proj.weight", "hidden", "v"),
    *MIXTURE,
    *FEED_FORWARD,
)


def _delta_nets() -> tuple[Rule, ...]:
    """Qwen3.5's, whose heads of values are stored tiled."""
    heads, channels = tiled(), tiled("v_head", "k", "k")
    conv = RowsThen(channels, Reshaped())
    return (
        same("attn_qkv.weight", "linear_attn.in_proj_qkv.weight", "channels", "hidden", rows=channels),
        same("attn_gate.weight", "linear_attn.in_proj_z.weight", "v", "hidden", rows=tiled("v_head")),
        same("ssm_beta.weight", "linear_attn.in_proj_b.weight", "v_heads", "hidden", rows=heads),
        same("ssm_alpha.weight", "linear_attn.in_proj_a.weight", "v_heads", "hidden", rows=heads),
        same("ssm_a", "linear_attn.A_log", "v_heads", values=RowsThen(heads, NegatedExponential())),
        same("ssm_dt.bias", "linear_attn.dt_bias", "v_heads", rows=heads),
        same(
            "ssm_conv1d.weight", "linear_attn.conv1d.weight", "channels", "kernel",
            values=conv, becomes=("channels", "kernel", 1),
        ),
        same("ssm_out.weight", "linear_attn.out_proj.weight", "hidden", "v", values=ColumnsMoved(tiled("v_head"))),
    )  # fmt: skip


def _delta_sizes(keys: Keys, tensors: Tensors, lengths: Lengths) -> dict[str, int]:
    k_heads, v_heads = keys.size("ssm.group_count"), keys.size("ssm.time_step_rank")
    k_head, inner = keys.size("ssm.state_size"), keys.size("ssm.inner_size")
    if v_heads % k_heads or inner % v_heads:
        raise FormatError(
            f"{keys.path} has {v_heads} heads of values in {inner} dimensions, "
            f"expected a divisor of those and a multiple of the {k_heads} heads of keys"
        )
    qkvz = 2 * k_heads * k_head + 2 * inner
    as_one = any(name.endswith(".ssm_in.weight") for name in tensors)
    return {
        "k_heads": k_heads,
        "v_heads": v_heads,
        "two_v_heads": 2 * v_heads,
        "k_head": k_head,
        "v_head": inner // v_heads,
        "k": k_heads * k_head,
        "v": inner,
        "channels": 2 * k_heads * k_head + inner,
        "qkvz": qkvz,
        "qkvz_as_one": qkvz if as_one else 0,
        "kernel": keys.size("ssm.conv_kernel"),
        "q_gate": 2 * lengths["heads"] * lengths["head"],
    }


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = usual_lengths(keys, tensors)
    return lengths.joined(**_delta_sizes(keys, tensors, lengths))


def _mixture_lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = expert_lengths(keys, tensors)
    return lengths.joined(**_delta_sizes(keys, tensors, lengths))


def _shared(config: Config, reading: Reading) -> None:
    sizes = reading.lengths.at(0)
    attention_at = [reading.has(f"blk.{layer}.attn_q.weight") for layer in range(reading.layers)]
    period, first = every_nth(reading.keys, "attention", attention_at)
    if first != period - 1:
        raise UnsupportedError(
            f"{reading.keys.path} has attention in layer {first} and then every {period}th, expected the last of each {period}"
        )
    config |= {
        "linear_num_key_heads": sizes["k_heads"],
        "linear_num_value_heads": sizes["v_heads"],
        "linear_key_head_dim": sizes["k_head"],
        "linear_value_head_dim": sizes["v_head"],
        "linear_conv_kernel_dim": sizes["kernel"],
        "full_attention_interval": period,
        "layer_types": ["full_attention" if each else "linear_attention" for each in attention_at],
        "attention_bias": False,
        "partial_rotary_factor": rotary_share(reading),
    }


def _experts(config: Config, reading: Reading) -> None:
    config |= expert_settings(
        reading,
        count="num_experts",
        used="num_experts_per_tok",
        width="moe_intermediate_size",
        shared="shared_expert_intermediate_size",
    )
    # In llama.cpp's code, not in the file.
    config |= {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}


def _next(config: Config, reading: Reading) -> None:
    _shared(config, reading)
    _experts(config, reading)
    without = [
        layer for layer in range(reading.layers) if not reading.has(f"blk.{layer}.ffn_gate_inp.weight")
    ]
    config["mlp_only_layers"] = without


def _qwen35(config: Config, reading: Reading) -> None:
    _shared(config, reading)
    sections = reading.keys.sizes("rope.dimension_sections", 4, 0, least=0)
    scaling = config.pop("rope_scaling", None)
    if scaling is not None:
        raise UnsupportedError(
            f"{reading.keys.path} is a qwen35 with {scaling['type']} rope scaling, expected none"
        )
    config["rope_parameters"] = {
        "rope_type": "default",
        "rope_theta": config.pop("rope_theta"),
        "partial_rotary_factor": config.pop("partial_rotary_factor"),
        "mrope_section": list(sections[:3]),
        "mrope_interleaved": True,
    }


def _qwen35_mixture(config: Config, reading: Reading) -> None:
    _qwen35(config, reading)
    _experts(config, reading)


IGNORED = frozenset({"attention.recurrent_layers", "full_attention_interval"})
"""Which layers have attention is told by their tensors."""

FAMILIES = (
    GGUFFamily(
        "qwen3next",
        "qwen3_next",
        "Qwen3NextForCausalLM",
        OUTER,
        NEXT,
        _next,
        _mixture_lengths,
        rotates_all=False,
        ignored_keys=IGNORED,
    ),
    GGUFFamily(
        "qwen35",
        "qwen3_5",
        "Qwen3_5ForCausalLM",
        OUTER,
        (*COMMON, *_delta_nets(), *FEED_FORWARD),
        _qwen35,
        _lengths,
        rotates_all=False,
        ignored_keys=IGNORED,
    ),
    GGUFFamily(
        "qwen35moe",
        "qwen3_5_moe",
        "Qwen3_5MoeForCausalLM",
        OUTER,
        (*COMMON, *_delta_nets(), *MIXTURE),
        _qwen35_mixture,
        _mixture_lengths,
        rotates_all=False,
        ignored_keys=IGNORED,
    ),
)
