"""gpt-oss: experts with biases, sinks in attention, every second layer sees a window."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import (
    ATTENTION_NORM,
    OUTER,
    OUTPUT_BIAS,
    attention,
    attention_biases,
    experts,
)
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import expert_lengths
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.settings import (
    expert_settings,
    layer_types,
    refuse_other_base,
    windowed_layers,
)

BLOCK = (
    ATTENTION_NORM,
    same("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),
    *attention(),
    *attention_biases(),
    OUTPUT_BIAS,
    same("attn_sinks.weight", "self_attn.sinks", "heads"),
    same("ffn_gate_inp.weight", "mlp.router.weight", "experts", "hidden"),
    same("ffn_gate_inp.bias", "mlp.router.bias", "experts"),
    *experts("mlp.experts"),
    same("ffn_gate_exps.bias", "mlp.experts.gate_proj.bias", "experts", "expert"),
    same("ffn_up_exps.bias", "mlp.experts.up_proj.bias", "experts", "expert"),
    same("ffn_down_exps.bias", "mlp.experts.down_proj.bias", "experts", "hidden"),
)


def _gpt_oss(config: Config, reading: Reading) -> None:
    refuse_other_base(reading)
    config |= expert_settings(
        reading, count="num_local_experts", used="num_experts_per_tok", width="intermediate_size"
    )
    config["sliding_window"] = reading.keys.size("attention.sliding_window")
    config["layer_types"] = layer_types(windowed_layers(reading, 2))
    if "rope_scaling" in config:
        # Of gpt-oss itself; no key of the file says it, and llama.cpp rounds no corner of the ramp either.
        config["rope_scaling"]["truncate"] = False


FAMILIES = (GGUFFamily("gpt-oss", "gpt_oss", "GptOssForCausalLM", OUTER, BLOCK, _gpt_oss, expert_lengths),)
