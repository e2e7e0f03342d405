"""Falcon-H1: attention and Mamba-2 side by side in every layer.

llama.cpp's converter multiplies the model's many multipliers into its weights, so all of them are 1 here.
"""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import ATTENTION_NORM, EMBEDDING, HEAD, attention
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.hybrid.mixers import mamba2, mamba2_sizes
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, usual_lengths
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.metadata import Keys

OUTER = (EMBEDDING, same("output_norm.weight", "model.final_layernorm.weight", "hidden"), HEAD)
BLOCK = (
    ATTENTION_NORM,
    # The converter gives this one no suffix.
    same("ffn_norm", "pre_ff_layernorm.weight", "hidden"),
    same("ffn_norm.weight", "pre_ff_layernorm.weight", "hidden"),
    *attention(),
    *mamba2("mamba"),
    same("ffn_gate.weight", "feed_forward.gate_proj.weight", "feed_forward", "hidden"),
    same("ffn_up.weight", "feed_forward.up_proj.weight", "feed_forward", "hidden"),
    same("ffn_down.weight", "feed_forward.down_proj.weight", "hidden", "feed_forward"),
)
MULTIPLIERS = (
    "attention_in_multiplier", "attention_out_multiplier", "embedding_multiplier", "key_multiplier", "lm_head_multiplier",
    "ssm_in_multiplier", "ssm_out_multiplier",
)  # fmt: skip


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    return usual_lengths(keys, tensors).joined(**mamba2_sizes(keys, tensors))


def _falcon_h1(config: Config, reading: Reading) -> None:
    sizes = reading.lengths.at(0)
    config |= dict.fromkeys(MULTIPLIERS, 1.0)
    config |= {"mlp_multipliers": [1.0] * 2, "ssm_multipliers": [1.0] * 5}
    config |= {
        "attention_bias": False,
        "mlp_bias": False,
        "projectors_bias": False,
        "mamba_proj_bias": False,
        "mamba_conv_bias": reading.has("blk.0.ssm_conv1d.bias"),
        "mamba_d_conv": sizes["kernel"],
        "mamba_d_head": sizes["ssm_head"],
        "mamba_d_ssm": sizes["inner"],
        "mamba_d_state": sizes["state"],
        "mamba_n_groups": sizes["groups"],
        "mamba_n_heads": sizes["ssm_heads"],
        "mamba_rms_norm": reading.has("blk.0.ssm_norm.weight"),
        "mamba_norm_before_gate": False,
    }


FAMILIES = (
    GGUFFamily(
        "falcon-h1",
        "falcon_h1",
        "FalconH1ForCausalLM",
        OUTER,
        BLOCK,
        _falcon_h1,
        _lengths,
        ignored_keys=frozenset({"vocab_size"}),
    ),
)
