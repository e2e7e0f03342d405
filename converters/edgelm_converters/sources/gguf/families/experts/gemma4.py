"""Gemma 4: dense, with experts beside the dense block, and with embeddings for each layer (E2B, E4B).

Layers that see everything have heads of their own width and number, and positions on a part of them: llama.cpp says which
part by frequency factors, 1 for what is turned and 1e30 for what is not.
"""

from __future__ import annotations

import numpy as np

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.gguf.families.common import FEED_FORWARD, HEAD_NORMS, OUTER, attention, experts
from edgelm_converters.sources.gguf.families.dense.gemma import FOUR_NORMS
from edgelm_converters.sources.gguf.families.dense.gemma3n import PER_LAYER_INPUT
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, outer_lengths
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.settings import expert_settings, layer_types
from edgelm_converters.sources.gguf.metadata import Keys
from edgelm_converters.sources.gguf.tensors import read_vector

PER_LAYER_OUTER = (
    same(
        "per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight", "vocab_per_layer", "all_layers"
    ),
    same("per_layer_model_proj.weight", "model.per_layer_model_projection.weight", "all_layers", "hidden"),
    same("per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight", "per_layer"),
)
BLOCK = (
    *attention(),
    *HEAD_NORMS,
    *FEED_FORWARD,
    *FOUR_NORMS,
    *PER_LAYER_INPUT,
    same("layer_output_scale.weight", "layer_scalar", 1),
    same("ffn_gate_inp.weight", "router.proj.weight", "experts", "hidden"),
    same("ffn_gate_inp.scale", "router.scale", "hidden"),
    same("ffn_down_exps.scale", "router.per_expert_scale", "experts"),
    *experts("experts.switch_glu"),
    same("pre_ffw_norm_2.weight", "pre_feedforward_layernorm_2.weight", "hidden"),
    same("post_ffw_norm_1.weight", "post_feedforward_layernorm_1.weight", "hidden"),
    same("post_ffw_norm_2.weight", "post_feedforward_layernorm_2.weight", "hidden"),
)


def _windows(keys: Keys, layers: int) -> list[bool]:
    flags = keys.flags_or_period("attention.sliding_window_pattern", layers, 6)
    if not isinstance(flags, list):
        raise FormatError(
            f"{keys.path} has no {keys.architecture}.attention.sliding_window_pattern, expected a list"
        )
    return flags


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = outer_lengths(keys, tensors)
    layers = lengths.layers
    windows = _windows(keys, layers)
    full, local = keys.size("attention.key_length"), keys.size("attention.key_length_swa")
    per_layer = keys.count("embedding_length_per_layer_input")
    table = tensors.get("per_layer_token_embd.weight")
    experts_count = keys.count("expert_count")
    return lengths.joined(
        heads=keys.size("attention.head_count"),
        kv_heads=keys.sizes("attention.head_count_kv", layers),
        head=tuple(local if is_local else full for is_local in windows),
        feed_forward=keys.sizes("feed_forward_length", layers),
        per_layer=per_layer,
        all_layers=per_layer * layers,
        vocab_per_layer=table.shape[0] if table is not None else 0,
        experts=experts_count,
        expert=keys.size("expert_feed_forward_length") if experts_count else 0,
        shared=0,
    )


def _gemma4(config: Config, reading: Reading) -> None:
    keys, lengths, layers = reading.keys, reading.lengths, reading.layers
    windows = _windows(keys, layers)
    shared = keys.count("attention.shared_kv_layers")
    config |= {
        "layer_types": layer_types(windows),
        "sliding_window": keys.size("attention.sliding_window"),
        "num_kv_shared_layers": shared,
        "hidden_size_per_layer_input": lengths["per_layer"],
        "vocab_size_per_layer_input": lengths["vocab_per_layer"] or lengths["vocab"],
        "final_logit_softcapping": keys.positive("final_logit_softcapping")
        if keys.has("final_logit_softcapping")
        else None,
        "enable_moe_block": bool(lengths["experts"]),
        **_heads(reading, windows),
        **_widths(reading, shared),
        "rope_parameters": _rope(reading),
    }
    if lengths["experts"]:
        names = {"count": "num_experts", "used": "top_k_experts", "width": "moe_intermediate_size"}
        config |= expert_settings(reading, **names)


def _heads(reading: Reading, windows: list[bool]) -> Config:
    """Heads of the layers with windows, and of the ones without, where those are others."""
    keys, by_layer = reading.keys, reading.lengths.by_layer
    found: dict[bool, set[tuple[int, int]]] = {True: set(), False: set()}
    for layer, is_local in enumerate(windows):
        found[is_local].add((by_layer["head"][layer], by_layer["kv_heads"][layer]))
    if any(len(kinds) > 1 for kinds in found.values()) or not all(found.values()):
        raise UnsupportedError(
            f"{keys.path} has layers of other heads than two kinds, with windows and without"
        )
    ((local, local_kv),), ((full, full_kv),) = found[True], found[False]
    lacks_values = [
        not reading.has(f"blk.{layer}.attn_v.weight") and not reading.has(f"blk.{layer}.attn_qkv.weight")
        for layer, is_local in enumerate(windows)
        if not is_local and layer < reading.layers - keys.count("attention.shared_kv_layers")
    ]
    return {
        "head_dim": local,
        "global_head_dim": full,
        "num_key_value_heads": local_kv,
        "num_global_key_value_heads": full_kv,
        "attention_k_eq_v": bool(lacks_values) and all(lacks_values),
    }


def _widths(reading: Reading, shared: int) -> Config:
    """The width of the dense block, which may be twice that in layers that have no keys of their own."""
    widths = list(reading.lengths.by_layer["feed_forward"])
    own = reading.layers - shared
    if not 0 < own <= reading.layers:
        raise FormatError(
            f"{reading.keys.path} has {shared} layers with shared keys, expected less than {reading.layers}"
        )
    is_double = widths[-1] == 2 * widths[0]
    expected = [widths[0]] * own + [widths[0] * (2 if is_double else 1)] * shared
    if widths != expected:
        raise UnsupportedError(
            f"{reading.keys.path} has feed-forward blocks of {sorted(set(widths))}, expected one width"
        )
    return {"intermediate_size": widths[0], "use_double_wide_mlp": is_double}


def _rope(reading: Reading) -> Config:
    keys = reading.keys
    full, local = keys.size("attention.key_length"), keys.size("attention.key_length_swa")
    rotated = keys.size("rope.dimension_count_swa", local)
    if rotated > local or keys.size("rope.dimension_count", full) != full:
        raise UnsupportedError(f"{keys.path} rotates {rotated} of {local} dimensions, expected no more")
    return {
        "full_attention": {
            "rope_type": "proportional",
            "rope_theta": keys.positive("rope.freq_base", 10000.0),
            "partial_rotary_factor": _turned_share(reading, full // 2),
        },
        "sliding_attention": {
            "rope_type": "default",
            "rope_theta": keys.positive("rope.freq_base_swa", 10000.0),
            "partial_rotary_factor": rotated / local,
        },
    }


def _turned_share(reading: Reading, pairs: int) -> float:
    tensor = reading.tensors.get("rope_freqs.weight")
    if tensor is None:
        return 1.0
    if tensor.shape != (pairs,):
        raise FormatError(f"{tensor.path}: 'rope_freqs.weight' has shape {tensor.shape}, expected {(pairs,)}")
    factors = read_vector(tensor)
    turned = int((factors == 1).sum())
    if not turned or not (factors[:turned] == 1).all() or not (factors[turned:] > np.float32(1e20)).all():
        raise UnsupportedError(
            f"{tensor.path} has a rope_freqs.weight that does not say which part of heads is turned"
        )
    return turned / pairs


FAMILIES = (
    GGUFFamily(
        "gemma4",
        "gemma4_text",
        "Gemma4ForCausalLM",
        (*OUTER, *PER_LAYER_OUTER),
        BLOCK,
        _gemma4,
        _lengths,
        common_rope=False,
        ignored_keys=frozenset({"attention.value_length", "attention.value_length_swa"}),
    ),
)
