"""The text models of Qwen2-VL, Qwen2.5-VL and Qwen3-VL.

Their positions have three parts, time, height and width, which are one number for text.
"""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import (
    FEED_FORWARD,
    HEAD_NORMS,
    TWO_NORMS,
    attention,
    attention_biases,
    experts,
    router,
)
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import expert_lengths
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.settings import expert_settings, refuse_free_heads

OUTER = (
    same("token_embd.weight", "language_model.model.embed_tokens.weight", "vocab", "hidden"),
    same("output_norm.weight", "language_model.model.norm.weight", "hidden"),
    same("output.weight", "language_model.lm_head.weight", "vocab", "hidden"),
)
PREFIX = "language_model.model.layers."


def _wrapped(config: Config, reading: Reading, text_type: str, *, interleaved: bool) -> None:
    """Move what is of the text model into its own config."""
    sections = _sections(reading)
    outer = {name: config.pop(name) for name in ("architectures", "model_type", "torch_dtype")}
    config.pop("rope_scaling", None)
    rope = {"rope_type": "default", "rope_theta": config.pop("rope_theta"), "mrope_section": sections}
    if interleaved:
        rope["mrope_interleaved"] = True
    text = {**config, "model_type": text_type, "rope_parameters": rope}
    tied = config["tie_word_embeddings"]
    config.clear()
    config |= {**outer, "tie_word_embeddings": tied, "text_config": text}


def _sections(reading: Reading) -> list[int]:
    """Read how many frequencies each part has; Ollama's files do not say, and for text it is the same."""
    if reading.keys.has("rope.dimension_sections"):
        return list(reading.keys.sizes("rope.dimension_sections", 4, least=0))[:3]
    half = reading.lengths["head"] // 2
    space = 3 * half // 8
    return [half - 2 * space, space, space]


def _qwen2(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    _wrapped(config, reading, "qwen2_vl_text", interleaved=False)


def _qwen3(config: Config, reading: Reading) -> None:
    config["attention_bias"] = False
    _wrapped(config, reading, "qwen3_vl_text", interleaved=True)


def _qwen3_mixture(config: Config, reading: Reading) -> None:
    config |= {
        "attention_bias": False,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }
    config |= expert_settings(
        reading, count="num_experts", used="num_experts_per_tok", width="moe_intermediate_size"
    )
    _wrapped(config, reading, "qwen3_vl_moe_text", interleaved=True)


SECTIONS = frozenset({"rope.mrope_section", "mrope_sections", "rope.mrope_interleaved"})
"""The same under Ollama's names."""
IGNORED = frozenset({"n_deepstack_layers", *SECTIONS})
"""Those, and layers that take features of images."""

FAMILIES = (
    GGUFFamily(
        "qwen2vl",
        "qwen2_vl",
        "Qwen2VLForConditionalGeneration",
        OUTER,
        (*TWO_NORMS, *attention(), *attention_biases(), *FEED_FORWARD),
        _qwen2,
        prefix=PREFIX,
        ignored_keys=SECTIONS,
    ),
    GGUFFamily(
        "qwen3vl",
        "qwen3_vl",
        "Qwen3VLForConditionalGeneration",
        OUTER,
        (*TWO_NORMS, *attention(), *HEAD_NORMS, *FEED_FORWARD),
        _qwen3,
        prefix=PREFIX,
        ignored_keys=IGNORED,
    ),
    GGUFFamily(
        "qwen3vlmoe",
        "qwen3_vl_moe",
        "Qwen3VLMoeForConditionalGeneration",
        OUTER,
        (*TWO_NORMS, *attention(), *HEAD_NORMS, *router("mlp.gate.weight"), *experts()),
        _qwen3_mixture,
        expert_lengths,
        prefix=PREFIX,
        ignored_keys=IGNORED,
    ),
)
