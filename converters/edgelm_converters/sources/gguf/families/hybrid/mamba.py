"""Mamba, Falcon-Mamba and Mamba-2: networks of state spaces alone."""

from __future__ import annotations

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.families.common import HEAD
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.hybrid.mixers import mamba, mamba2, mamba2_lengths, mamba_lengths
from edgelm_converters.sources.gguf.families.rule import same

OUTER = (
    same("token_embd.weight", "backbone.embeddings.weight", "vocab", "hidden"),
    same("output_norm.weight", "backbone.norm_f.weight", "hidden"),
    HEAD,
)
NORM = same("attn_norm.weight", "norm.weight", "hidden")
EPSILON = ("layer_norm_epsilon", "attention.layer_norm_rms_epsilon")
UNUSED = frozenset({"attention.head_count", "feed_forward_length"})
"""Zero, and there because llama.cpp asks every architecture for them."""


def _mamba(config: Config, reading: Reading) -> None:
    keys, sizes = reading.keys, reading.lengths.at(0)
    if config["layer_norm_epsilon"] != 1e-5:
        raise UnsupportedError(
            f"{keys.path} adds {config['layer_norm_epsilon']} in its norms, expected 1e-05, which mlx-lm's mamba has built in"
        )
    config |= {
        "intermediate_size": sizes["inner"],
        "state_size": sizes["state"],
        "conv_kernel": sizes["kernel"],
        "time_step_rank": sizes["time_rank"],
        "use_bias": False,
        "use_conv_bias": reading.has("blk.0.ssm_conv1d.bias"),
    }
    if keys.flag("ssm.dt_b_c_rms", False):
        # What those norms add is not in the file; transformers' default is what the published ones say.
        config |= {
            "model_type": "falcon_mamba",
            "architectures": ["FalconMambaForCausalLM"],
            "mixer_rms_eps": 1e-6,
        }


def _mamba2(config: Config, reading: Reading) -> None:
    sizes = reading.lengths.at(0)
    config |= {
        "intermediate_size": sizes["inner"],
        "expand": sizes["inner"] // sizes["hidden"],
        "num_heads": sizes["ssm_heads"],
        "head_dim": sizes["ssm_head"],
        "n_groups": sizes["groups"],
        "state_size": sizes["state"],
        "conv_kernel": sizes["kernel"],
        "time_step_rank": "auto",
        "time_step_limit": [0.0, float("inf")],
        "use_bias": False,
        "use_conv_bias": reading.has("blk.0.ssm_conv1d.bias"),
    }


FAMILIES = (
    GGUFFamily(
        "mamba",
        "mamba",
        "MambaForCausalLM",
        OUTER,
        (NORM, *mamba("mixer")),
        _mamba,
        mamba_lengths,
        prefix="backbone.layers.",
        norm=EPSILON,
        ignored_keys=UNUSED,
    ),
    GGUFFamily(
        "mamba2",
        "mamba2",
        "Mamba2ForCausalLM",
        OUTER,
        (NORM, *mamba2("mixer")),
        _mamba2,
        mamba2_lengths,
        prefix="backbone.layers.",
        norm=EPSILON,
        ignored_keys=UNUSED,
    ),
)
