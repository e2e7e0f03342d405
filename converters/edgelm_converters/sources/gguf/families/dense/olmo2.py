"""OLMo 2 and 3: norms after attention and after the feed-forward block; OLMo 3's have windows."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import FEED_FORWARD, OUTER, attention
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.settings import (
    layer_types,
    refuse_other_base,
    windowed_layers,
)

BLOCK = (
    *attention(),
    same("attn_q_norm.weight", "self_attn.q_norm.weight", "q"),
    same("attn_k_norm.weight", "self_attn.k_norm.weight", "kv"),
    same("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),
    *FEED_FORWARD,
    same("post_ffw_norm.weight", "post_feedforward_layernorm.weight", "hidden"),
)


def _olmo2(config: Config, reading: Reading) -> None:
    config["attention_bias"] = False
    refuse_other_base(reading)
    window = reading.keys.count("attention.sliding_window")
    if window:
        config |= {"model_type": "olmo3", "architectures": ["Olmo3ForCausalLM"], "sliding_window": window}
        config["layer_types"] = layer_types(windowed_layers(reading, 4))


FAMILIES = (GGUFFamily("olmo2", "olmo2", "Olmo2ForCausalLM", OUTER, BLOCK, _olmo2),)
