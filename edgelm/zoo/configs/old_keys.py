"""What transformers 5 no longer writes, or writes in another form, and mlx-lm asks for under the name of the first release.

The other form of a setting is known to `edgelm.zoo.configs.unread` too: mlx-lm reads the setting by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgelm.zoo.configs.sources import SAME_CLASS

Config = Mapping[str, Any]
Forms = dict[str, dict[str, Any]]
"""Setting of transformers 5 → the keys, with their values, that say the same to mlx-lm."""

_WIRED_IN: Mapping[str, Config] = {
    "glm_moe_dsa": {"topk_method": "noaux_tc", "scoring_func": "sigmoid", "moe_layer_freq": 1},
    "longcat_flash": {
        "attention_method": "MLA", "zero_expert_type": "identity", "mla_scale_q_lora": True, "mla_scale_kv_lora": True,
    },
    "mimo_v2_flash": {
        "add_swa_attention_sink_bias": True, "add_full_attention_sink_bias": False, "n_shared_experts": None,
        "topk_method": "noaux_tc", "scoring_func": "sigmoid",
    },
    "minimax_m2": {"shared_intermediate_size": 0},
    "kimi_linear": {"rope_theta": 10_000.0, "mla_use_nope": True, "moe_layer_freq": 1, "moe_router_activation_func": "sigmoid"},
    "solar_open": {"first_k_dense_replace": 0, "partial_rotary_factor": 1.0, "intermediate_size": 0},
}  # fmt: skip
"""`model_type` → what transformers' code does whatever the config says, and mlx-lm asks for."""


def restore_old_keys(part: dict[str, Any], full: Config, wanted: Mapping[str, Any]) -> None:
    """Add to `part`, a config or its text config, in place, what mlx-lm asks for under older names.

    Args:
        full: `part` as transformers completes it.
        wanted: the settings that mlx-lm's architecture has.
    """
    kind = str(part.get("model_type"))
    for alias, own in aliases(kind):
        for name, other in ((alias, own), (own, alias)):
            if name in wanted and name not in part and other in full:
                part[name] = full[other]
    if "rope_parameters" in wanted and "rope_parameters" not in part and full.get("rope_parameters"):
        part["rope_parameters"] = full["rope_parameters"]
    for same in old_forms(kind, full, wanted).values():
        part.update(same)
    for name, value in _WIRED_IN.get(kind, {}).items():
        part.setdefault(name, value)


def aliases(kind: str) -> list[tuple[str, str]]:
    """List the second names that transformers' class for a `model_type` gives to its settings, as (alias, setting)."""
    from transformers import CONFIG_MAPPING

    kind = SAME_CLASS.get(kind, kind)
    if kind not in CONFIG_MAPPING:
        return []
    return list((getattr(CONFIG_MAPPING[kind], "attribute_map", None) or {}).items())


def old_forms(kind: str, full: Config, wanted: Mapping[str, Any]) -> Forms:
    """Return the settings of a completed config that mlx-lm's architecture, with the settings `wanted`, reads otherwise."""
    forms: Forms = {}
    for name, form in (("layer_types", _layers), ("mlp_layer_types", _experts)):
        kinds = full.get(name)
        if not isinstance(kinds, list) or not kinds or not all(isinstance(item, str) for item in kinds):
            continue
        if same := {key: value for key, value in form(kind, kinds, full).items() if key in wanted}:
            forms[name] = same
    for name, own in _OWN.get(kind, {}).items():
        if name in full and (same := own(full)):
            forms[name] = same
    return forms


def _layers(kind: str, kinds: list[str], full: Config) -> dict[str, Any]:
    if kind == "granitemoehybrid":
        return {"layer_types": [_GRANITE.get(name, name) for name in kinds]}
    if kind == "exaone4" and "sliding_attention" not in kinds and full.get("sliding_window") is None:
        return {"sliding_window_pattern": None}  # without windows, RoPE is in every layer
    if not {"full_attention", "sliding_attention"} <= set(kinds):
        return {}
    period = kinds.index("full_attention") + 1
    is_periodic = all((name == "full_attention") == ((at + 1) % period == 0) for at, name in enumerate(kinds))
    same: dict[str, Any] = {"hybrid_layer_pattern": [int(name != "full_attention") for name in kinds]}
    if is_periodic:
        same["sliding_window_pattern"] = "L" * (period - 1) + "G" if kind == "exaone4" else period
    return same


_GRANITE = {"linear_attention": "mamba", "full_attention": "attention"}


def _experts(kind: str, kinds: list[str], _: Config) -> dict[str, Any]:
    """Which layers have experts: the first few have none, or a list says it."""
    sparse = [name == "sparse" for name in kinds]
    first = sparse.index(True) if True in sparse else len(sparse)
    same: dict[str, Any] = {"is_moe_layer": sparse}
    if all(sparse[first:]):
        same["first_k_dense_replace"] = first
    if kind == "mimo_v2_flash":
        same["moe_layer_freq"] = [int(one) for one in sparse]
    if kind == "step3p5":
        same["moe_layers_enum"] = ",".join(str(at) for at, one in enumerate(sparse) if one)
    return same


def _delta_attention(full: Config) -> dict[str, Any]:
    """Kimi Linear's layers, counted from 1."""
    kinds = full["layer_types"]
    where = {
        name: [at + 1 for at, kind in enumerate(kinds) if (kind == "full_attention") == is_full]
        for name, is_full in (("full_attn_layers", True), ("kda_layers", False))
    }
    return {
        "linear_attn_config": {
            **where,
            "head_dim": full["linear_head_dim"],
            "num_heads": full["linear_num_heads"],
            "short_conv_kernel_size": full["linear_conv_kernel_dim"],
        }
    }


def _mimo_windows(full: Config) -> dict[str, Any]:
    return {
        "sliding_window_size": full["sliding_window"] - 1,  # counts the tokens before the one that looks back
        "swa_num_attention_heads": full["num_attention_heads"],
        "swa_num_key_value_heads": 2 * full["num_key_value_heads"],
        "swa_head_dim": full["head_dim"],
        "swa_v_head_dim": full["v_head_dim"],
        "layernorm_epsilon": full["rms_norm_eps"],
    }


def _mimo_rope(full: Config) -> dict[str, Any]:
    rope = full["rope_parameters"]
    return {
        "rope_theta": rope["full_attention"]["rope_theta"],
        "swa_rope_theta": rope["sliding_attention"]["rope_theta"],
        "partial_rotary_factor": rope["full_attention"].get("partial_rotary_factor", 1.0),
    }


def _minicpm3_rope(full: Config) -> dict[str, Any]:
    """mlx-lm has LongRoPE alone for it: with one factor that is linear scaling, and with 1 none."""
    rope = full["rope_parameters"]
    kind = rope.get("rope_type", "default")
    if kind not in ("default", "linear"):
        return {}
    same = {"original_max_position_embeddings": full["max_position_embeddings"]}
    if kind == "linear":
        same |= {"factor": rope["factor"], "long_factor": rope["factor"]}
    return {"rope_scaling": {**same, "type": kind, "rope_type": kind, "rope_theta": rope["rope_theta"]}}


def _deepseek_rope(full: Config) -> dict[str, Any]:
    """mlx-lm's DeepSeek-V2 has YaRN alone: with a factor of 1 that is RoPE as it is."""
    rope = full["rope_parameters"]
    if rope.get("rope_type", "default") != "default":
        return {}
    length = full["max_position_embeddings"]
    same = {"type": "yarn", "rope_type": "yarn", "factor": 1.0, "original_max_position_embeddings": length}
    return {"rope_scaling": {**same, "rope_theta": rope["rope_theta"]}}


def _positions(full: Config) -> dict[str, Any]:
    return {"position_embedding_type": "rope" if full["position_embedding_type"] == "rope" else "nope"}


def _dense_width(full: Config) -> dict[str, Any]:
    """Granite 4 without experts has its shared one alone, which mlx-lm takes for a plain layer."""
    return {} if full.get("num_local_experts") else {"intermediate_size": full["shared_intermediate_size"]}


def _minimax_rope(full: Config) -> dict[str, Any]:
    share = full["rope_parameters"].get("partial_rotary_factor", 1.0)
    return {"rotary_dim": int(full["head_dim"] * share)}


def _dbrx_rope(full: Config) -> dict[str, Any]:
    attention, theta = full.get("attn_config"), full["rope_parameters"].get("rope_theta")
    if not isinstance(attention, dict) or not theta:
        return {}
    return {
        "attn_config": {name: attention.get(name) for name in ("clip_qkv", "kv_n_heads")}
        | {"rope_theta": theta}
    }


def _ling_width(full: Config) -> dict[str, Any]:
    return {"moe_shared_expert_intermediate_size": full["moe_intermediate_size"]}


_OWN: Mapping[str, Mapping[str, Callable[[Config], dict[str, Any]]]] = {
    "bailing_moe_v3": {"moe_intermediate_size": _ling_width},
    "dbrx": {"rope_parameters": _dbrx_rope},
    "deepseek_v2": {"rope_parameters": _deepseek_rope},
    "granitemoehybrid": {"position_embedding_type": _positions, "shared_intermediate_size": _dense_width},
    "gpt2": {"n_positions": lambda full: {"n_ctx": full["n_positions"]}},
    "kimi_linear": {"linear_head_dim": _delta_attention},
    "lfm2": {"hidden_size": lambda full: {"block_dim": full["hidden_size"]}},
    "mamba2": {"expand": lambda full: {"intermediate_size": int(full["expand"] * full["hidden_size"])}},
    "mimo_v2_flash": {"sliding_window": _mimo_windows, "rope_parameters": _mimo_rope},
    "minicpm3": {"rope_parameters": _minicpm3_rope},
    "minimax_m2": {"rope_parameters": _minimax_rope},
}
"""`model_type` → setting → its other form."""
