"""Qwen 2 and 3, dense."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import (
    FEED_FORWARD,
    HEAD_NORMS,
    OUTER,
    TWO_NORMS,
    attention,
    attention_biases,
)
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.settings import refuse_free_heads

QWEN2_BLOCK = (*attention(), *attention_biases(), *FEED_FORWARD, *TWO_NORMS)
QWEN3_BLOCK = (*attention(), *HEAD_NORMS, *FEED_FORWARD, *TWO_NORMS)


def _qwen2(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)


def _qwen3(config: Config, reading: Reading) -> None:
    config["attention_bias"] = False


FAMILIES = (
    GGUFFamily("qwen2", "qwen2", "Qwen2ForCausalLM", OUTER, QWEN2_BLOCK, _qwen2),
    GGUFFamily("qwen3", "qwen3", "Qwen3ForCausalLM", OUTER, QWEN3_BLOCK, _qwen3),
)
