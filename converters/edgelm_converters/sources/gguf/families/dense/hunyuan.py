"""Hunyuan, dense: norms of q and k behind the rotation.

Its "dynamic" scaling is one base for all lengths, which llama.cpp's converter multiplies out. Hunyuan with experts is none of
the families: mlx-lm's network does not make the weights of the chosen experts add up to one, which Tencent's does.
"""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import (
    FEED_FORWARD,
    OUTER,
    TWO_NORMS,
    attention,
    attention_biases,
)
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.rule import same

BLOCK = (
    *attention(),
    *attention_biases(),
    same("attn_q_norm.weight", "self_attn.query_layernorm.weight", "head"),
    same("attn_k_norm.weight", "self_attn.key_layernorm.weight", "head"),
    *TWO_NORMS,
    *FEED_FORWARD,
)


def _dense(config: Config, reading: Reading) -> None:
    config["attention_bias"] = reading.has("blk.0.attn_q.bias")
    config["use_qk_norm"] = reading.has("blk.0.attn_q_norm.weight")


FAMILIES = (
    GGUFFamily("hunyuan-dense", "hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM", OUTER, BLOCK, _dense),
)
