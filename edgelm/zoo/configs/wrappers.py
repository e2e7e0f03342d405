"""Models whose text part is one of several architectures: which ones mlx-lm's wrapper runs, the rest refused by name.

mlx-lm's mistral3 (also LLaVA and Pixtral) takes every text model that it does not know for a llama: what has the same
tensors would be computed wrong without a word, what has others ends in a list of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.errors import UnsupportedError
from edgelm.zoo.configs.sources import ALIASES, has_own_module, module_spec

Config = Mapping[str, Any]

_LLAMAS = frozenset({"llama", "mistral"})

TEXT_TYPES: Mapping[str, frozenset[str]] = {
    "llava": _LLAMAS | {"ministral3", "mistral4"},
    "mistral3": _LLAMAS | {"ministral3", "mistral4"},
    "pixtral": _LLAMAS,
    "lfm2-vl": frozenset({"lfm2"}),
    "kimi_vl": frozenset({"deepseek_v3", "kimi_k2"}),
    "kimi_k25": frozenset({"deepseek_v3", "kimi_k2"}),
}
"""mlx-lm's wrapper → `model_type` of the text models that it computes right."""


_OUTSIDE = (
    "architectures", "bos_token_id", "dtype", "eos_token_id", "pad_token_id", "quantization", "quantization_config",
    "tie_word_embeddings", "torch_dtype", "transformers_version", "vocab_size",
)  # fmt: skip
"""What a wrapper's config says as well."""


def own_architecture(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config under the name by which mlx-lm knows its architecture; one of a wrapper's text as the wrapper's."""
    kind = config["model_type"]
    if (
        kind == "bailing_hybrid" and "group_norm_size" not in config
    ):  # Ling 3, with delta attention in place of lightning's
        return {**config, "model_type": "bailing_moe_v3"}
    return (
        {**wrapped_text(config), "model_type": ALIASES.get(kind, kind)}
        if kind in ALIASES
        else wrapped_text(config)
    )


def wrapped_text(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config of a wrapper's text model, published by itself, as the wrapper's; any other as it is.

    mlx-lm has some text models only within their wrapper (`qwen3_5_text` in `qwen3_5`).
    """
    kind = str(config["model_type"])
    outer = kind.removesuffix("_text")
    if outer == kind or "text_config" in config or module_spec(outer) is None:
        return config
    if (
        has_own_module(kind)
        and kind not in _RATHER_WRAPPED
        and not (kind in _IF_SPARSE and _has_experts(config))
    ):
        return config
    outside = {name: config[name] for name in _OUTSIDE if name in config}
    inside = {
        name: value for name, value in config.items() if name not in ("quantization", "quantization_config")
    }
    return {**outside, "model_type": outer, "text_config": inside}


_RATHER_WRAPPED = frozenset({"gemma4_unified_text"})
"""mlx-lm knows this one by its wrapper only, and edgelm by `gemma4_text` in it."""

_IF_SPARSE = frozenset({"llama4_text"})
"""mlx-lm's own module for it is MobileLLM's, without experts."""


def _has_experts(config: Config) -> bool:
    step = config.get("interleave_moe_layer_step", 1)
    return bool(config.get("moe_layers", step)) and bool(config.get("num_local_experts", 1))


def check_text_type(config: Config) -> None:
    """Refuse a wrapper around a text model that mlx-lm would take for another.

    Args:
        config: normalised.

    Raises:
        UnsupportedError: naming both.
    """
    kind, text = str(config.get("model_type")), config.get("text_config")
    inner = text.get("model_type") if isinstance(text, dict) else None
    known = TEXT_TYPES.get(kind)
    if known is None or not isinstance(inner, str) or inner in known:
        return
    raise UnsupportedError(
        f"mlx-lm's {kind} runs text models of {', '.join(sorted(known))}, and this one is {inner}",
        hint="if the text model was published by itself, convert that",
    )
