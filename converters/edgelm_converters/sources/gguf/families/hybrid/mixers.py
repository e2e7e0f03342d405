"""State space mixers, Mamba and Mamba-2: their rules and lengths, for whole networks of them and for hybrids.

Convolutions are given as MLX has them, [C, K, 1], and norms and decays as their networks compute with them, so that no
`sanitize` computes anything. Sources: llama.cpp's conversion/mamba.py; arXiv:2312.00752, arXiv:2405.21060.
"""

from __future__ import annotations

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.gguf.families.family import Reading
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, outer_lengths
from edgelm_converters.sources.gguf.families.rule import Rule, same
from edgelm_converters.sources.gguf.families.values import NegatedExponential, Reshaped
from edgelm_converters.sources.gguf.metadata import Keys


def mamba(network: str) -> tuple[Rule, ...]:
    """Return the rules of a Mamba mixer that the network calls `network`."""
    return (
        same("ssm_in.weight", f"{network}.in_proj.weight", "inner_gate", "hidden"),
        depthwise("ssm_conv1d.weight", f"{network}.conv1d.weight", "inner"),
        same("ssm_conv1d.bias", f"{network}.conv1d.bias", "inner"),
        same("ssm_x.weight", f"{network}.x_proj.weight", "time_state", "inner"),
        same("ssm_dt.weight", f"{network}.dt_proj.weight", "inner", "time_rank"),
        same("ssm_dt.bias", f"{network}.dt_proj.bias", "inner"),
        same("ssm_a", f"{network}.A_log", "inner", "state", values=NegatedExponential()),
        same("ssm_d", f"{network}.D", "inner"),
        same("ssm_out.weight", f"{network}.out_proj.weight", "hidden", "inner"),
    )


def mamba2(network: str) -> tuple[Rule, ...]:
    """Return the rules of a Mamba-2 mixer that the network calls `network`."""
    return (
        same("ssm_in.weight", f"{network}.in_proj.weight", "projected", "hidden"),
        depthwise("ssm_conv1d.weight", f"{network}.conv1d.weight", "channels"),
        same("ssm_conv1d.bias", f"{network}.conv1d.bias", "channels"),
        same("ssm_dt.bias", f"{network}.dt_bias", "ssm_heads"),
        same(
            "ssm_a", f"{network}.A_log", "ssm_heads", 1, values=NegatedExponential(), becomes=("ssm_heads",)
        ),
        same("ssm_d", f"{network}.D", "ssm_heads", 1, values=Reshaped(), becomes=("ssm_heads",)),
        same(
            "ssm_norm.weight",
            f"{network}.norm.weight",
            "norm_groups",
            "norm_width",
            values=Reshaped(),
            becomes=("inner",),
        ),
        same("ssm_out.weight", f"{network}.out_proj.weight", "hidden", "inner"),
    )


def depthwise(stored: str, network: str, channels: str) -> Rule:
    """Return the rule of a depthwise convolution: [C, K] here, [C, K, 1] there."""
    return same(stored, network, channels, "kernel", values=Reshaped(), becomes=(channels, "kernel", 1))


def mamba_lengths(keys: Keys, tensors: Tensors) -> Lengths:
    """Read the lengths of a network of Mamba mixers."""
    return outer_lengths(keys, tensors).joined(**mamba_sizes(keys))


def mamba_sizes(keys: Keys) -> dict[str, int]:
    """Read the lengths of a Mamba mixer."""
    inner, state, rank = (
        keys.size("ssm.inner_size"),
        keys.size("ssm.state_size"),
        keys.size("ssm.time_step_rank"),
    )
    return {
        "inner": inner,
        "inner_gate": 2 * inner,
        "state": state,
        "time_rank": rank,
        "time_state": rank + 2 * state,
        "kernel": keys.size("ssm.conv_kernel"),
    }


def mamba2_lengths(keys: Keys, tensors: Tensors) -> Lengths:
    """Read the lengths of a network of Mamba-2 mixers."""
    return outer_lengths(keys, tensors).joined(**mamba2_sizes(keys, tensors))


def mamba2_sizes(keys: Keys, tensors: Tensors) -> dict[str, int]:
    """Read the lengths of a Mamba-2 mixer.

    Raises:
        FormatError: its inner width is not a multiple of its heads or groups.
    """
    inner, state = keys.size("ssm.inner_size"), keys.size("ssm.state_size")
    heads, groups = keys.size("ssm.time_step_rank"), keys.size("ssm.group_count", 1)
    if inner % heads or inner % groups:
        raise FormatError(
            f"{keys.path} has an ssm.inner_size of {inner}, expected a multiple of its {heads} heads and {groups} groups"
        )
    channels = inner + 2 * groups * state
    has_norm = any(name.endswith(".ssm_norm.weight") for name in tensors)
    return {
        "inner": inner,
        "state": state,
        "ssm_heads": heads,
        "ssm_head": inner // heads,
        "groups": groups,
        "norm_groups": groups if has_norm else 0,
        "norm_width": inner // groups if has_norm else 0,
        "channels": channels,
        "projected": inner + channels + heads,
        "kernel": keys.size("ssm.conv_kernel"),
    }


def attention_sizes(keys: Keys, layers: int) -> dict[str, int]:
    """Read the lengths of attention where only some layers have it: those without have 0 heads of keys.

    Raises:
        FormatError: a count is impossible, or no layer has attention.
        UnsupportedError: layers have different numbers of heads.
    """
    heads = shared_size(keys, "attention.head_count", layers)
    kv_heads = shared_size(keys, "attention.head_count_kv", layers)
    if heads % kv_heads:
        raise FormatError(f"{keys.path} has {heads} attention heads, expected a multiple of {kv_heads}")
    head = keys.size("attention.key_length", keys.size("embedding_length") // heads or 1)
    if keys.size("attention.value_length", head) != head:
        raise UnsupportedError(f"{keys.path} has values of another width than its keys ({head})")
    return {"heads": heads, "kv_heads": kv_heads, "head": head}


def shared_size(keys: Keys, key: str, layers: int) -> int:
    """Read the one size that all layers have which have one at all; the others' is 0.

    Raises:
        FormatError: no layer has one.
        UnsupportedError: layers have different ones.
    """
    sizes = set(keys.sizes(key, layers, least=0)) - {0}
    if not sizes:
        raise FormatError(
            f"{keys.path} has a {keys.architecture}.{key} of 0 in every layer, expected one that has more"
        )
    if len(sizes) > 1:
        raise UnsupportedError(
            f"{keys.path} has layers with {keys.architecture}.{key} {sorted(sizes)}, expected one size"
        )
    return sizes.pop()


def attends(reading: Reading) -> list[bool]:
    """Tell for each layer whether it has attention, and is not recurrent."""
    return [count > 0 for count in reading.keys.sizes("attention.head_count_kv", reading.layers, least=0)]
