"""Command R: attention and the feed-forward block side by side behind one norm; positions turn neighbours."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.common import (
    ATTENTION_NORM,
    EMBEDDING,
    FEED_FORWARD,
    NORM,
    attention,
)
from edgelm_converters.sources.gguf.families.dense.gemma import sliding_period
from edgelm_converters.sources.gguf.families.family import LAYER_NORM, Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.settings import (
    layer_types,
    refuse_free_heads,
    refuse_other_base,
)

BLOCK = (ATTENTION_NORM, *attention(), *FEED_FORWARD)
HEAD_NORMS = (
    same("attn_q_norm.weight", "self_attn.q_norm.weight", "heads", "head"),
    same("attn_k_norm.weight", "self_attn.k_norm.weight", "kv_heads", "head"),
)


def _command_r(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    config["logit_scale"] = reading.keys.positive("logit_scale", 1.0)
    config["use_qk_norm"] = reading.has("blk.0.attn_q_norm.weight")
    config["attention_bias"] = False


def _cohere2(config: Config, reading: Reading) -> None:
    _command_r(config, reading)
    refuse_other_base(reading)
    del config["use_qk_norm"]
    period = sliding_period(reading, 4)
    config["sliding_window"] = reading.keys.size("attention.sliding_window")
    config["sliding_window_pattern"] = period
    config["layer_types"] = layer_types([bool((layer + 1) % period) for layer in range(reading.layers)])


OUTER = (EMBEDDING, NORM)
FAMILIES = (
    GGUFFamily(
        "command-r", "cohere", "CohereForCausalLM", OUTER, (*BLOCK, *HEAD_NORMS), _command_r, norm=LAYER_NORM
    ),
    GGUFFamily("cohere2", "cohere2", "Cohere2ForCausalLM", OUTER, BLOCK, _cohere2, norm=LAYER_NORM),
)
