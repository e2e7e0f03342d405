"""Settings that transformers computes by and mlx-lm's architecture never looks at: refused by name.

A conversion compared with edgelm's own reading of the source cannot notice them. A setting counts where transformers' config
class has it, its value changes what is computed, and the source of mlx-lm's module does not mention it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm import log
from edgelm.errors import UnsupportedError
from edgelm.zoo.configs.sources import family_source

Config = Mapping[str, Any]

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "attention_bias": (None, False), "mlp_bias": (None, False), "use_bias": (None, False), "use_qkv_bias": (None, False),
    "attn_logit_softcapping": (None, 0), "final_logit_softcapping": (None, 0), "clip_qkv": (None,),
    "use_qk_norm": (None, False), "qk_layernorm": (None, False), "logit_scale": (None, 1), "logits_scaling": (None, 1),
    "embedding_multiplier": (None, 1), "residual_multiplier": (None, 1), "attention_multiplier": (None,),
    "use_parallel_residual": (None,), "alibi": (None, False), "parallel_attn": (None,), "scale_embedding": (None, False),
    "attention_sink": (None, False), "lm_head_bias": (None, False), "moe_routed_scaling_factor": (None, 1),
    "routed_scaling_factor": (None, 1), "query_pre_attn_scalar": (None,), "attn_temperature_tuning": (None, False, 0),
    "scale_attn_weights": (None, True), "scale_attn_by_inverse_layer_idx": (None, False),
    "num_kv_shared_layers": (None, 0), "use_double_wide_mlp": (None, False), "hidden_size_per_layer_input": (None, 0),
    "attention_chunk_size": (None,),
}  # fmt: skip
"""Setting → values under which it changes nothing (a setting without any has to be read)."""

_BIASES = frozenset({"attention_bias", "mlp_bias", "use_bias", "use_qkv_bias", "lm_head_bias"})
"""Those that bring tensors: an architecture that lacks them refuses the checkpoint by the names of those."""


def check_settings_are_read(config: Config) -> None:
    """Refuse a normalised config with a setting that would be passed over.

    Raises:
        UnsupportedError: naming key, value and architecture.
    """
    text = config.get("text_config")
    part = text if isinstance(text, dict) else config
    present = {name: part[name] for name in NEUTRAL if name in part and name not in _BIASES}
    source = family_source(config) if present else ""
    unread = {
        name: value for name, value in present.items() if value not in NEUTRAL[name] and name not in source
    }
    honoured = _honoured(part, unread)
    if honoured:
        shown = ", ".join(f"{name} {value!r}" for name, value in honoured.items())
        raise UnsupportedError(
            f"the config says {shown}, which mlx-lm's {config['model_type']} never reads: it would compute something else",
            hint="run the model with transformers, or look for a release that mlx-lm's authors converted",
        )


def _honoured(part: Config, unread: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the architecture's config class of transformers has of its own, and so reads, at another value than usual.

    The usual value is often wired into mlx-lm's module instead of being read.
    """
    kind = part.get("model_type")
    if not unread or not isinstance(kind, str):
        return {}
    log.silence_known()
    from transformers import CONFIG_MAPPING

    if kind not in CONFIG_MAPPING:
        return {}
    known = CONFIG_MAPPING[kind]().to_dict()
    return {name: value for name, value in unread.items() if name in known and known[name] != value}
