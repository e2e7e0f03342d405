"""EXAONE 4: norms behind attention and the feed-forward block; where some layers see a window, the others have no positions."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import FEED_FORWARD, HEAD_NORMS, OUTER, attention
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.settings import layer_types, refuse_other_base, windowed_layers

BLOCK = (
    *attention(),
    *HEAD_NORMS,
    same("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),
    *FEED_FORWARD,
    same("post_ffw_norm.weight", "post_feedforward_layernorm.weight", "hidden"),
)
DEEP = 64
"""Layers of the model that llama.cpp gives windows of 4096 whether its file says so or not."""


def _exaone4(config: Config, reading: Reading) -> None:
    refuse_other_base(reading)
    window = reading.keys.count("attention.sliding_window") or (4096 if reading.layers == DEEP else 0)
    flags = windowed_layers(reading, 4) if window else [False] * reading.layers
    config.setdefault("rope_scaling", None)
    config["sliding_window"] = window or None
    config["sliding_window_pattern"] = (
        "".join("L" if is_local else "G" for is_local in flags) if window else None
    )
    config["layer_types"] = layer_types(flags)


FAMILIES = (GGUFFamily("exaone4", "exaone4", "Exaone4ForCausalLM", OUTER, BLOCK, _exaone4),)
