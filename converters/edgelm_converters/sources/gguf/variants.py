"""What the config of each architecture has beside the common keys.

llama.cpp keeps some of it in its code rather than in the file: Gemma's attention scale, SmolLM3's layers
without positions. It is written out here. Sources: llama.cpp src/llama-model.cpp, load_hparams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.metadata import Keys
from edgelm_converters.sources.gguf.names import Dimensions
from edgelm_converters.sources.gguf.parts import GGUFModel

Config = dict[str, Any]


def _llama(config: Config, keys: Keys, dimensions: Dimensions, model: GGUFModel) -> None:
    config["attention_bias"] = "blk.0.attn_q.bias" in model.tensors
    config["mlp_bias"] = "blk.0.ffn_up.bias" in model.tensors


def _smollm3(config: Config, keys: Keys, dimensions: Dimensions, model: GGUFModel) -> None:
    _llama(config, keys, dimensions, model)
    config["no_rope_layer_interval"] = 4
    config["no_rope_layers"] = [int((layer + 1) % 4 != 0) for layer in range(dimensions.layers)]


def _mistral3(config: Config, keys: Keys, dimensions: Dimensions, model: GGUFModel) -> None:
    scaling = config.pop("rope_scaling", {"rope_type": "default", "type": "default"})
    config["rope_parameters"] = {
        "original_max_position_embeddings": config["max_position_embeddings"],
        **scaling,
        "rope_theta": config["rope_theta"],
        "mscale": 1.0,
        "mscale_all_dim": keys.number("rope.scaling.yarn_log_multiplier", 0.0),
        "llama_4_scaling_beta": keys.number("attention.temperature_scale", 0.0),
    }


def _qwen2(config: Config, keys: Keys, dimensions: Dimensions, model: GGUFModel) -> None:
    _refuse_free_heads(keys, dimensions)


def _qwen3(config: Config, keys: Keys, dimensions: Dimensions, model: GGUFModel) -> None:
    config["attention_bias"] = False


def _gemma2(config: Config, keys: Keys, dimensions: Dimensions, model: GGUFModel) -> None:
    config["query_pre_attn_scalar"] = query_scalar(dimensions, largest_layers=46)
    config["sliding_window"] = keys.size("attention.sliding_window", 4096)
    config["attn_logit_softcapping"] = keys.positive("attn_logit_softcapping", 50.0)
    config["final_logit_softcapping"] = keys.positive("final_logit_softcapping", 30.0)


def _gemma3(config: Config, keys: Keys, dimensions: Dimensions, model: GGUFModel) -> None:
    config["query_pre_attn_scalar"] = query_scalar(dimensions, largest_layers=62)
    config["rope_local_base_freq"] = keys.positive("rope.freq_base_swa", 10000.0)
    if keys.has("final_logit_softcapping"):
        raise UnsupportedError(
            f"{keys.path} is a gemma3 with soft-capped logits, which mlx-lm's gemma3 lacks"
        )
    window = keys.count("attention.sliding_window")
    # Without a window every layer sees everything; a window without a pattern means every sixth does.
    config["sliding_window"] = window or config["max_position_embeddings"]
    pattern = sliding_pattern(keys, dimensions.layers) if window else 1
    config["sliding_window_pattern"] = pattern
    config["layer_types"] = [
        "sliding_attention" if (layer + 1) % pattern else "full_attention"
        for layer in range(dimensions.layers)
    ]


def sliding_pattern(keys: Keys, layers: int) -> int:
    """Find every how many layers one sees everything; the file has the number, or a flag for each layer."""
    said = keys.metadata.get(f"{keys.architecture}.attention.sliding_window_pattern", 6)
    if not isinstance(said, list):
        return keys.size("attention.sliding_window_pattern", 6)
    pattern = said.index(False) + 1 if False in said else 0
    if not pattern or said != [bool((layer + 1) % pattern) for layer in range(layers)]:
        raise UnsupportedError(f"{keys.path} has windows on layers {said}, expected all but every n-th")
    return pattern


def query_scalar(dimensions: Dimensions, largest_layers: int) -> int:
    """Find what Gemma divides attention scores by the root of: llama.cpp knows the largest model by its depth."""
    return dimensions.hidden // dimensions.heads if dimensions.layers == largest_layers else dimensions.head


def _phi3(config: Config, keys: Keys, dimensions: Dimensions, model: GGUFModel) -> None:
    _refuse_free_heads(keys, dimensions)
    scaling = config.get("rope_scaling")
    if scaling is not None and scaling["type"] != "longrope":
        raise UnsupportedError(
            f"{keys.path} is a phi3 with {scaling['type']} rope scaling, expected none or longrope"
        )
    original = keys.size("rope.scaling.original_context_length", config["max_position_embeddings"])
    config["original_max_position_embeddings"] = original
    config["partial_rotary_factor"] = keys.size("rope.dimension_count", dimensions.head) / dimensions.head
    window = keys.count("attention.sliding_window")
    config["sliding_window"] = window or None


def _refuse_free_heads(keys: Keys, dimensions: Dimensions) -> None:
    if dimensions.head * dimensions.heads != dimensions.hidden:
        raise UnsupportedError(
            f"{keys.path} has {dimensions.heads} heads of {dimensions.head}, "
            f"expected them to add up to {dimensions.hidden} in a {keys.architecture} model"
        )


VARIANTS: dict[str, Callable[[Config, Keys, Dimensions, GGUFModel], None]] = {
    "llama": _llama,
    "smollm3": _smollm3,
    "mistral3": _mistral3,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "phi3": _phi3,
}
