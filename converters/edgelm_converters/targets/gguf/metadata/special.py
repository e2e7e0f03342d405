"""What single families say otherwise than most, or besides.

A function gets a config's settings and what all families would say, and changes that. Sources: llama.cpp's conversion/*.py,
the class of the architecture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

from edgelm_converters.targets.gguf.metadata.keys import Offered
from edgelm_converters.targets.gguf.metadata.settings import FEED_FORWARD, HIDDEN, ModelSettings

Special = Callable[[ModelSettings, Offered], None]


def _neox(settings: ModelSettings, keys: Offered) -> None:
    keys["attention.head_count_kv"] = settings.heads


def _mixture_of_blocks(settings: ModelSettings, keys: Offered) -> None:
    """The width of a block is that of an expert."""
    keys.setdefault("expert_feed_forward_length", settings.size(*FEED_FORWARD))


def _minicpm(settings: ModelSettings, keys: Offered) -> None:
    keys["embedding_scale"] = float(settings.get("scale_emb", default=12.0))
    keys["residual_scale"] = float(settings.get("scale_depth", default=1.4)) / math.sqrt(settings.layers)
    keys["logit_scale"] = settings.size(*HIDDEN) / float(settings.get("dim_model_base", default=256))


def _minicpm3(settings: ModelSettings, keys: Offered) -> None:
    keys["attention.head_count_kv"] = settings.kv_heads
    keys["attention.key_length"] = settings.size("qk_nope_head_dim") + settings.size("qk_rope_head_dim")


def _gemma3n(settings: ModelSettings, keys: Offered) -> None:
    widths = settings.get("intermediate_size")
    keys["feed_forward_length"] = list(widths) if isinstance(widths, list) else [widths] * settings.layers
    keys["altup.num_inputs"] = settings.get("altup_num_inputs", default=4)
    keys["altup.active_idx"] = settings.get("altup_active_idx", default=0)
    shares = settings.get("activation_sparsity_pattern")
    if shares is not None:
        shares = shares if isinstance(shares, list) else [shares] * settings.layers
        normal = NormalDist()
        keys["activation_sparsity_scale"] = [
            normal.inv_cdf(share) if 0 < share < 1 else -math.inf for share in shares
        ]


def _gemma4(settings: ModelSettings, keys: Offered) -> None:
    windows, layers = settings.windows or [], settings.layers
    shared = settings.get("num_kv_shared_layers", default=0)
    local, width = settings.kv_heads, settings.size("intermediate_size")
    full = settings.get("num_global_key_value_heads", default=local)
    if not settings.get("attention_k_eq_v"):
        full = settings.get("num_global_key_value_heads") or local
    keys["attention.head_count_kv"] = [local if window else full for window in windows]
    is_double = settings.get("use_double_wide_mlp") and shared
    keys["feed_forward_length"] = [
        width * (2 if is_double and layer >= layers - shared else 1) for layer in range(layers)
    ]
    whole = settings.get("global_head_dim", default=settings.head)
    keys |= {
        "attention.key_length": whole,
        "attention.value_length": whole,
        "attention.key_length_swa": settings.head,
        "attention.value_length_swa": settings.head,
        "rope.dimension_count": whole,
        "rope.dimension_count_swa": settings.head,
        "attention.sliding_window_pattern": windows,
        "attention.shared_kv_layers": shared,
        "embedding_length_per_layer_input": settings.get("hidden_size_per_layer_input", default=0),
    }
    nested = settings.get("rope_parameters", default={})
    local_rope = nested.get("sliding_attention", {})
    keys["rope.freq_base_swa"] = float(local_rope.get("rope_theta", 10000.0))
    if not settings.get("enable_moe_block"):
        for name in ("expert_count", "expert_used_count", "expert_feed_forward_length"):
            keys.pop(name, None)


def _llama4(settings: ModelSettings, keys: Offered) -> None:
    keys["feed_forward_length"] = settings.size("intermediate_size_mlp", "intermediate_size")
    keys["expert_feed_forward_length"] = settings.size("intermediate_size")
    keys.pop("expert_shared_feed_forward_length", None)


def _ernie_mixture(settings: ModelSettings, keys: Offered) -> None:
    keys["expert_shared_feed_forward_length"] = settings.size("moe_intermediate_size") * settings.get(
        "moe_num_shared_experts", default=0
    )


def _mistral3(settings: ModelSettings, keys: Offered) -> None:
    keys["attention.temperature_scale"] = float(settings.rope.get("llama_4_scaling_beta", 0.0))
    keys["rope.scaling.yarn_log_multiplier"] = float(settings.rope.get("mscale_all_dim", 0.0))


def _deepseek(settings: ModelSettings, keys: Offered) -> None:
    if "mscale_all_dim" in settings.rope:
        keys["rope.scaling.yarn_log_multiplier"] = 0.1 * float(settings.rope["mscale_all_dim"])
    if settings.get("topk_method") == "greedy":
        keys["expert_group_count"] = keys["expert_group_used_count"] = 1


def _phi3(settings: ModelSettings, keys: Offered) -> None:
    original = settings.get(
        "original_max_position_embeddings", default=settings.size("max_position_embeddings")
    )
    keys["rope.scaling.original_context_length"] = original
    keys["attention.sliding_window"] = settings.get(
        "sliding_window", default=0
    )  # llama.cpp tells Phi 4 by it
    if settings.rope_kind == "longrope":
        scale = settings.size("max_position_embeddings") / original
        keys["rope.scaling.attn_factor"] = (
            math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
        )


def _mamba(settings: ModelSettings, keys: Offered) -> None:
    inner = settings.get("intermediate_size", "d_inner", default=2 * settings.size(*HIDDEN))
    rank = settings.get("time_step_rank", "mamba_dt_rank", default="auto")
    keys |= {
        "ssm.inner_size": inner,
        "ssm.state_size": settings.size("state_size", "mamba_d_state", "ssm_state_size"),
        "ssm.conv_kernel": settings.size("conv_kernel", "mamba_d_conv"),
        "ssm.time_step_rank": -(-settings.size(*HIDDEN) // 16) if rank == "auto" else rank,
        "ssm.dt_b_c_rms": settings.get("model_type") == "falcon_mamba",
        "context_length": 2**20,
        "feed_forward_length": 0,
        "attention.head_count": 0,
    }


def _mamba2(settings: ModelSettings, keys: Offered) -> None:
    heads = settings.size("num_heads", "mamba_n_heads", "mamba_num_heads")
    keys |= {
        "ssm.inner_size": heads * settings.size("head_dim", "mamba_d_head", "mamba_head_dim"),
        "ssm.state_size": settings.size("state_size", "mamba_d_state", "ssm_state_size"),
        "ssm.conv_kernel": settings.size("conv_kernel", "mamba_d_conv"),
        "ssm.time_step_rank": heads,
        "ssm.group_count": settings.size("n_groups", "mamba_n_groups"),
    }


def _whole_mamba2(settings: ModelSettings, keys: Offered) -> None:
    _mamba2(settings, keys)
    keys |= {"context_length": 2**20, "feed_forward_length": 0, "attention.head_count": 0}


def _falcon_h1(settings: ModelSettings, keys: Offered) -> None:
    heads = settings.size("mamba_n_heads")
    keys |= {
        "ssm.inner_size": settings.get("mamba_d_ssm", default=heads * settings.size("mamba_d_head")),
        "ssm.state_size": settings.size("mamba_d_state"),
        "ssm.conv_kernel": settings.size("mamba_d_conv"),
        "ssm.time_step_rank": heads,
        "ssm.group_count": settings.size("mamba_n_groups"),
    }


def _with_attention_at(keys: Offered, kv_heads: int, attends: list[bool]) -> None:
    keys["attention.head_count_kv"] = [kv_heads if each else 0 for each in attends]


def _granite_hybrid(settings: ModelSettings, keys: Offered) -> None:
    _mamba2(settings, keys)
    types = settings.get("layer_types", default=["attention"] * settings.layers)
    _with_attention_at(keys, settings.kv_heads, [each == "attention" for each in types])
    keys["rope.scaling.finetuned"] = settings.get("position_embedding_type") != "nope"


def _jamba(settings: ModelSettings, keys: Offered) -> None:
    _mamba(settings, keys)
    keys["ssm.inner_size"] = settings.size("mamba_expand") * settings.size(*HIDDEN)
    keys["context_length"] = settings.size("max_position_embeddings")
    keys["feed_forward_length"] = settings.size(*FEED_FORWARD)
    keys["attention.head_count"] = settings.heads
    period, offset = settings.size("attn_layer_period"), settings.get("attn_layer_offset", default=0)
    _with_attention_at(
        keys, settings.kv_heads, [layer % period == offset for layer in range(settings.layers)]
    )
    keys.pop("ssm.dt_b_c_rms")


def _lfm2(settings: ModelSettings, keys: Offered) -> None:
    types = settings.get("layer_types", default=[])
    _with_attention_at(keys, settings.kv_heads, [each == "full_attention" for each in types])
    keys["shortconv.l_cache"] = settings.size("conv_L_cache")
    if settings.get("moe_intermediate_size") is not None:
        keys["expert_gating_func"] = 2  # a sigmoid, in the code of both
    width = settings.get("block_ff_dim", *FEED_FORWARD)
    if settings.get("block_auto_adjust_ff_dim") and settings.get("moe_intermediate_size") is None:
        # As mlx-lm and transformers compute it.
        multiple = settings.size("block_multiple_of")
        width = int(float(settings.get("block_ffn_dim_multiplier", default=1.0)) * int(2 * width / 3))
        width = multiple * -(-width // multiple)
    keys["feed_forward_length"] = width


def _delta_net(settings: ModelSettings, keys: Offered) -> None:
    keys |= {
        "ssm.conv_kernel": settings.size("linear_conv_kernel_dim"),
        "ssm.state_size": settings.size("linear_key_head_dim"),
        "ssm.group_count": settings.size("linear_num_key_heads"),
        "ssm.time_step_rank": settings.size("linear_num_value_heads"),
        "ssm.inner_size": settings.size("linear_value_head_dim") * settings.size("linear_num_value_heads"),
        "full_attention_interval": settings.get("full_attention_interval", default=4),
    }


def _qwen35(settings: ModelSettings, keys: Offered) -> None:
    _delta_net(settings, keys)
    period = keys["full_attention_interval"]
    types = settings.get("layer_types", default=[])
    recurrent = [each == "linear_attention" for each in types] or [
        bool((layer + 1) % period) for layer in range(settings.layers)
    ]
    keys["attention.recurrent_layers"] = recurrent
    # Three parts of a position, which are one number for text; the sections of all published ones.
    keys.setdefault("rope.dimension_sections", [11, 11, 10, 0])


def _minimax(settings: ModelSettings, keys: Offered) -> None:
    keys["expert_feed_forward_length"] = settings.size(*FEED_FORWARD)
    if settings.get("rotary_dim") is not None:
        keys["rope.dimension_count"] = settings.size("rotary_dim")
    keys["expert_gating_func"] = 2


def _afmoe(settings: ModelSettings, keys: Offered) -> None:
    keys.setdefault("expert_gating_func", 2)


def _sigmoid(settings: ModelSettings, keys: Offered) -> None:
    keys.setdefault("expert_gating_func", 2)


SPECIAL: Mapping[str, Special] = {
    "afmoe": _afmoe,
    "deepseek2": _deepseek,
    "dots1": _sigmoid,
    "ernie4_5-moe": _ernie_mixture,
    "falcon-h1": _falcon_h1,
    "gemma3n": _gemma3n,
    "gemma4": _gemma4,
    "glm4moe": _sigmoid,
    "gptneox": _neox,
    "gpt-oss": _mixture_of_blocks,
    "granitehybrid": _granite_hybrid,
    "jamba": _jamba,
    "lfm2": _lfm2,
    "lfm2moe": _lfm2,
    "llama4": _llama4,
    "mamba": _mamba,
    "mamba2": _whole_mamba2,
    "minicpm": _minicpm,
    "minicpm3": _minicpm3,
    "minimax-m2": _minimax,
    "mistral3": _mistral3,
    "phi3": _phi3,
    "qwen35": _qwen35,
    "qwen35moe": _qwen35,
    "qwen3next": _delta_net,
}


def change_keys(architecture: str, settings: ModelSettings, keys: Offered) -> Offered:
    """Return `keys` as the family of `architecture` says them."""
    changed: dict[str, Any] = dict(keys)
    if architecture in SPECIAL:
        SPECIAL[architecture](settings, changed)
    return changed
