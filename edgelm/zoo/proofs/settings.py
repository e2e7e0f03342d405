"""The settings of a config by which a network computes, each reduced to its form: on or off, which of several, a number.

A proof on a tiny network holds for large ones of the same forms. A config is first completed by its class in transformers,
whose fields alone count: what transformers does not read changes nothing that it computes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgelm.zoo.configs.defaults import completed

Forms = dict[str, str]
"""Setting → "true", "none", "number", "0", "1", or the value where it is a word."""

_INERT = re.compile(
    r".*(dropout|pdrop|_token_ids?|token_index|_coef|loss|jitter|nextn|mtp|init(_|ializer).*|_std)"
    r"|init(_|ializer).*|output_.*|use_cache|(torch_)?dtype|architectures|transformers_version|_.*|id2label|label2id|problem_type"
    r"|return_dict|chunk_size_feed_forward|pretraining_tp|use_mamba.*|use_associative_scan|summary_.*|tokenizer_class|is_decoder"
    r"|is_encoder_decoder|add_cross_attention|model_type|rescale_prenorm_residual|num_logits_to_keep|mamba_ssm_cache_dtype"
    r"|residual_in_fp32|attention_softmax_in_fp32|scale_attention_softmax_in_fp32|reorder_and_upcast_attn|name_or_path|.*_range"
    r"|w_init_variance_scale|moe_shared_expert_overlap|cross_attention_hidden_size|quantization(_config)?|rope_scaling|rope_theta"
    r"|use_bidirectional_attention|time_step_(min|max|floor|rank|scale|init_scheme)|linear_(a_log|dt)_.*|per_layer_config"
)
"""Settings of training, of files, of other modes, and what is derived from sizes."""

_SIZES = re.compile(
    r"vocab_size.*|(hidden|intermediate)_size|head_dim|global_head_dim|num_hidden_layers|num_(attention|key_value)_heads"
    r"|num_global_key_value_heads|max_position_embeddings|n_(embd|layer|head|inner|positions|ctx)|max_seq_len|layers_block_type"
    r"|max_window_layers|original_max_position_embeddings|mamba_dt_rank|block_types|mlp_only_layers"
)
"""Sizes and lists by layer, which tiny networks have others of."""

_ROPE_INERT = frozenset(
    {"rope_theta", "type", "rope_type", "original_max_position_embeddings", "max_position_embeddings"}
)


def settings_of(config: Mapping[str, Any]) -> Forms:
    """Return the forms of a config.json's settings; those of a text model where the config is a wrapper's."""
    text = config.get("text_config")
    part = dict(text) if isinstance(text, dict) else dict(config)
    full = completed(part)
    known = _fields(part.get("model_type"))
    forms: Forms = {}
    for name, value in full.items():
        if name not in known:
            continue
        if name == "rope_parameters" and isinstance(value, dict):
            forms |= _rope_forms(value)
        elif name == "layer_types" and isinstance(value, list):
            forms["layer_types"] = "+".join(sorted({str(kind) for kind in value}))
        elif not _INERT.fullmatch(name) and not _SIZES.fullmatch(name) and not isinstance(value, dict):
            forms[name] = form_of(value)
    if "sliding_attention" not in forms.get("layer_types", "sliding_attention"):
        forms["sliding_window"] = "unused"
    return forms


def _fields(model_type: object) -> frozenset[str]:
    """Names of the settings that transformers' config class has; a config may hold any others beside them."""
    from transformers import CONFIG_MAPPING

    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        return frozenset()
    return frozenset(CONFIG_MAPPING[model_type].__dataclass_fields__)


def form_of(value: Any) -> str:
    """Return the form of one value."""
    if value is None or isinstance(value, bool | str):
        return str(value).lower() if not isinstance(value, str) else value
    if isinstance(value, int | float):
        return "0" if value == 0 else "1" if value == 1 else "number"
    if isinstance(value, list | tuple):
        kinds = sorted({form_of(item) for item in value})
        return "list of " + "+".join(kinds) if kinds else "empty list"
    return "set"


def covers(proved: str, asked: str) -> bool:
    """Tell whether a setting of form `proved` proves one of form `asked`: a number that is read, also 1."""
    return proved == asked or (proved == "number" and asked == "1")


def _rope_forms(rope: Mapping[str, Any]) -> Forms:
    """Kinds and further keys, over all types of layers."""
    parts: list[Mapping[str, Any]] = [part for part in rope.values() if isinstance(part, dict)] or [rope]
    kinds = sorted({str(part.get("rope_type", part.get("type", "default"))) for part in parts})
    forms = {"rope_type": "+".join(kinds)}
    for part in parts:
        for name, value in part.items():
            if name not in _ROPE_INERT and value is not None:
                forms[f"rope {name}"] = form_of(value)
    return forms
