"""What a config leaves out because it is transformers' default, where mlx-lm has another default or none.

transformers writes nested configs, and older ones, without what its config class has anyway; mlx-lm's dataclasses have
defaults of their own (a tied head, another RoPE base, no normalisation of experts' weights) or ask for the key. What
transformers would compute with is filled in. Knows no architecture: both sides are asked.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from edgelm import log
from edgelm.zoo.configs.sources import SAME_CLASS, has_own_module, module_source, module_spec, siblings
from edgelm.zoo.guards import keep_file_limit

Config = dict[str, Any]

_LEFT_ALONE = frozenset({
    "model_type", "architectures", "quantization", "quantization_config", "text_config", "rope_scaling", "rope_parameters",
    "tie_word_embeddings", "torch_dtype", "dtype", "sliding_window_pattern", "head_dim",
})  # fmt: skip
"""Decided elsewhere: by the tensors, by `normalise_config`, or derived by mlx-lm from other keys."""

_SIZES = frozenset({
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "n_embd", "n_layer", "n_head",
    "n_inner", "n_positions", "n_ctx", "max_position_embeddings", "layer_types", "sliding_window",
})  # fmt: skip
"""An outer config that lacks one of these is broken, or means what mlx-lm makes of it."""


_ALWAYS: dict[str, Config] = {
    "apertus": {"mlp_bias": False, "post_norm": False, "qk_norm": True},
    "gemma4_unified_text": {"hidden_size_per_layer_input": 0},
    "qwen3_vl_moe_text": {"norm_topk_prob": True},
}
"""What transformers does without having a setting for it."""


def wanted_settings(part: Config, outer_type: str) -> dict[str, Any]:
    """Return the settings that mlx-lm's architecture has for `part`, a config or its text config, and their defaults.

    Args:
        outer_type: `model_type` of the whole, whose module of mlx-lm may read `part` itself.

    Returns:
        `dataclasses.MISSING` for one that has to be given.
    """
    own = str(part.get("model_type") or outer_type)
    if own == outer_type or has_own_module(own):
        wanted = _fields(own) | ({} if own == outer_type else _fields(outer_type, _TEXT_KINDS))
    else:
        wanted = _fields(own, _TEXT_KINDS)
    if wanted:
        return wanted
    # The outer module hands its text model to another one.
    names = siblings(module_source(outer_type))
    return {field: default for name in names for field, default in _fields(name).items()}


def fill_defaults(part: Config, wanted: Mapping[str, Any], outer_type: str) -> None:
    """Add to `part`, a config or its text config, in place, what it leaves out and mlx-lm would take otherwise.

    Args:
        wanted: see `wanted_settings`.
        outer_type: `model_type` of the whole.
    """
    own = str(part.get("model_type") or outer_type)
    if wanted.get("rope_scaling") is dataclasses.MISSING:
        part.setdefault("rope_scaling", None)  # mlx-lm's llama4 asks for the key
    if wanted.get("head_dim") is dataclasses.MISSING and "head_dim" not in part:
        hidden, heads = part.get("hidden_size"), part.get("num_attention_heads")
        if isinstance(hidden, int) and isinstance(heads, int) and heads > 0:
            part["head_dim"] = hidden // heads
    kept = _LEFT_ALONE | _SIZES if own == outer_type else _LEFT_ALONE
    missing = {name: default for name, default in wanted.items() if name not in part and name not in kept}
    if not missing:
        return
    full = completed(part)
    full |= _ALWAYS.get(own, {})
    for name, default in missing.items():
        value = full.get(name)
        is_none = name in full and value is None and default is not None
        if is_none or (value is not None and value != default and _is_plain(value)):
            part[name] = value


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str) or (
        isinstance(value, list) and all(isinstance(item, bool | int | float | str) for item in value)
    )


def completed(part: Config) -> Config:
    """Return the whole config as its class in transformers completes it; empty where there is none or it refuses."""
    from huggingface_hub.errors import StrictDataclassError

    log.silence_known()
    from transformers import CONFIG_MAPPING

    kind = SAME_CLASS.get(str(part.get("model_type")), part.get("model_type"))
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        return {}
    given = {
        name: copy.deepcopy(value)  # the classes complete what they are given
        for name, value in part.items()
        if name not in ("model_type", "quantization", "quantization_config")
    }
    try:
        completed: Config = CONFIG_MAPPING[kind](**given).to_dict()
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, StrictDataclassError):
        return {}  # a config that is broken is named by whoever builds a network from it
    return completed


_TEXT_KINDS = ("TextArgs", "TextConfig", "TextModelArgs")


def _fields(model_type: str, names: tuple[str, ...] = (*_TEXT_KINDS, "ModelArgs")) -> dict[str, Any]:
    """Settings of mlx-lm's architecture and their defaults; a field without one has `dataclasses.MISSING`."""
    spec = module_spec(model_type) if module_source(model_type) else None
    if spec is None:
        return {}
    try:
        with keep_file_limit():
            module = importlib.import_module(spec.name)
    except (ImportError, SystemExit):
        return {}  # mlx-lm's olmo leaves Python where a package is missing; building the network says so
    kinds = [kind for name in names if (kind := getattr(module, name, None))]
    return {
        field.name: field.default
        for kind in kinds
        if dataclasses.is_dataclass(kind)
        for field in dataclasses.fields(kind)
    }
