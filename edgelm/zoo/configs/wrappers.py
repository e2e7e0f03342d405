"""Models whose text part is one of several architectures: which ones mlx-lm's wrapper runs, the rest refused by name.

mlx-lm's mistral3 (also LLaVA and Pixtral) takes every text model that it does not know for a llama: what has the same
tensors would be computed wrong without a word, what has others ends in a list of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.errors import UnsupportedError

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
