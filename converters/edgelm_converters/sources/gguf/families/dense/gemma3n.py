"""Gemma 3n: four streams of hidden states (AltUp), low-rank residuals (Laurel), embeddings for each layer."""

from __future__ import annotations

import math
from typing import Any

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.gguf.families.common import FEED_FORWARD, HEAD_NORMS, attention
from edgelm_converters.sources.gguf.families.dense.gemma import FOUR_NORMS
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, outer_lengths
from edgelm_converters.sources.gguf.families.rule import same, split
from edgelm_converters.sources.gguf.families.settings import layer_types, windowed_layers, wrap
from edgelm_converters.sources.gguf.metadata import Keys

STREAMS = 4
"""What llama.cpp's converter takes alone."""


def _projections(stored: str, network: str) -> Any:
    parts = [
        (f"model.language_model.{network}.{index}.weight", ("hidden", "hidden"))
        for index in range(STREAMS - 1)
    ]
    return split(stored, (STREAMS - 1, "hidden", "hidden"), *parts)


OUTER = (
    same("token_embd.weight", "model.language_model.embed_tokens.weight", "vocab", "hidden"),
    same("output_norm.weight", "model.language_model.norm.weight", "hidden"),
    same(
        "per_layer_token_embd.weight",
        "model.language_model.embed_tokens_per_layer.weight",
        "vocab",
        "all_layers",
    ),
    same(
        "per_layer_model_proj.weight",
        "model.language_model.per_layer_model_projection.weight",
        "all_layers",
        "hidden",
    ),
    same("per_layer_proj_norm.weight", "model.language_model.per_layer_projection_norm.weight", "per_layer"),
    _projections("altup_proj.weight", "altup_projections"),
    _projections("altup_unembd_proj.weight", "altup_unembed_projections"),
)
PER_LAYER_INPUT = (
    same("inp_gate.weight", "per_layer_input_gate.weight", "per_layer", "hidden"),
    same("proj.weight", "per_layer_projection.weight", "hidden", "per_layer"),
    same("post_norm.weight", "post_per_layer_input_norm.weight", "hidden"),
)
BLOCK = (
    *attention(),
    *HEAD_NORMS,
    *FEED_FORWARD,
    *FOUR_NORMS,
    *PER_LAYER_INPUT,
    same("altup_correct_coef.weight", "altup.correction_coefs.weight", STREAMS, STREAMS),
    same("altup_correct_scale.weight", "altup.correct_output_scale", "hidden"),
    same("altup_predict_coef.weight", "altup.prediction_coefs.weight", STREAMS * STREAMS, STREAMS),
    same("altup_router.weight", "altup.modality_router.weight", STREAMS, "hidden"),
    same("altup_router_norm.weight", "altup.router_norm.weight", "hidden"),
    same("laurel_l.weight", "laurel.linear_left.weight", "laurel", "hidden"),
    same("laurel_r.weight", "laurel.linear_right.weight", "hidden", "laurel"),
    same("laurel_post_norm.weight", "laurel.post_laurel_norm.weight", "hidden"),
)


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = outer_lengths(keys, tensors)
    laurel = tensors.get("blk.0.laurel_l.weight")
    if laurel is None:
        raise FormatError(f"{keys.path} has no tensor 'blk.0.laurel_l.weight'")
    per_layer = keys.size("embedding_length_per_layer_input")
    heads = keys.size("attention.head_count")
    return lengths.joined(
        heads=heads,
        kv_heads=keys.size("attention.head_count_kv", heads),
        head=keys.size("attention.key_length"),
        feed_forward=keys.sizes("feed_forward_length", lengths.layers),
        per_layer=per_layer,
        all_layers=per_layer * lengths.layers,
        laurel=laurel.shape[0],
    )


def _gemma3n(config: Config, reading: Reading) -> None:
    keys, layers = reading.keys, reading.layers
    if keys.size("altup.num_inputs", STREAMS) != STREAMS:
        raise UnsupportedError(
            f"{keys.path} has {keys.size('altup.num_inputs')} AltUp streams, expected {STREAMS}"
        )
    config |= {
        "intermediate_size": list(reading.lengths.by_layer["feed_forward"]),
        "vocab_size_per_layer_input": reading.lengths["vocab"],
        "hidden_size_per_layer_input": reading.lengths["per_layer"],
        "laurel_rank": reading.lengths["laurel"],
        "num_kv_shared_layers": _below(keys, "attention.shared_kv_layers", layers, max(0, layers - 20)),
        "altup_num_inputs": STREAMS,
        "altup_active_idx": _below(keys, "altup.active_idx", STREAMS, 0),
        "altup_coef_clip": 120.0,
        "altup_correct_scale": True,
        "activation_sparsity_pattern": [_share_below(each) for each in _scales(keys, layers)],
        "sliding_window": keys.size("attention.sliding_window"),
        "layer_types": layer_types(windowed_layers(reading, 5)),
        "rope_local_base_freq": keys.positive("rope.freq_base_swa", 10000.0),
        "final_logit_softcapping": keys.positive("final_logit_softcapping", 30.0),
        "model_type": "gemma3n_text",
    }
    wrap(config, "gemma3n", "Gemma3nForConditionalGeneration")


def _below(keys: Keys, key: str, limit: int, default: int) -> int:
    value = keys.count(key) if keys.has(key) else default
    if value >= limit:
        raise FormatError(f"{keys.path} has {keys.architecture}.{key} {value}, expected less than {limit}")
    return value


def _scales(keys: Keys, layers: int) -> list[float]:
    """How many standard deviations above the mean a value must be to stay; minus infinity where all do."""
    said = keys.raw("activation_sparsity_scale")
    if said is None:
        return [-math.inf] * layers
    is_right = isinstance(said, list) and len(said) == layers
    if not is_right or not all(isinstance(each, float) and each < 100 for each in said):
        raise FormatError(
            f"{keys.path} has activation_sparsity_scale {str(said)[:80]!r}, expected {layers} numbers"
        )
    return [float(each) for each in said]


def _share_below(deviations: float) -> float:
    """The share of a normal distribution that lies below; the file has it in deviations, in float32."""
    return round(0.5 * (1 + math.erf(deviations / math.sqrt(2))), 6)


FAMILIES = (
    GGUFFamily(
        "gemma3n",
        "gemma3n",
        "Gemma3nForConditionalGeneration",
        OUTER,
        BLOCK,
        _gemma3n,
        _lengths,
        prefix="model.language_model.layers.",
        ignored_keys=frozenset({"attention.value_length"}),
    ),
)
