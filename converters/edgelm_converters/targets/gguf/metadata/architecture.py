"""Which GGUF family a config is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.families.family import GGUFFamily
from edgelm_converters.sources.gguf.families.registry import ARCHITECTURES
from edgelm_converters.targets.gguf.metadata.settings import ModelSettings

_OTHERS: Mapping[str, str] = {
    "mistral": "llama",
    "mixtral": "llama",
    "ministral3": "mistral3",
    "olmo3": "olmo2",
    "falcon_mamba": "mamba",
    "granitemoehybrid": "granitehybrid",
    "glm4_moe_lite": "deepseek2",
    "gemma3": "gemma3",
    "gemma3_text": "gemma3",
    "gemma4": "gemma4",
    "gemma4_text": "gemma4",
    "gemma3n_text": "gemma3n",
    "llama4_text": "llama4",
    "qwen3_5_text": "qwen35",
    "qwen3_5_moe_text": "qwen35moe",
    "qwen2_5_vl": "qwen2vl",
    "qwen2_5_vl_text": "qwen2vl",
}
"""Networks that llama.cpp keeps under another architecture than their own, or that a family's table does not name."""

_UNWRITTEN = frozenset({"kimi_linear", "nemotron_h"})


def family_of(config: Mapping[str, Any], names: Mapping[str, Any], source: str) -> GGUFFamily:
    """Return the family of a normalised config; of several of one architecture the one that has the tensors.

    Args:
        names: the network's tensors.
        source: for messages.

    Raises:
        UnsupportedError: llama.cpp has no such architecture, or edgelm does not know it.
    """
    settings = ModelSettings.of(config)
    kind, outer = str(settings.get("model_type")), str(config.get("model_type"))
    if kind in _UNWRITTEN:
        raise UnsupportedError(
            f"{source} is of the architecture {kind!r}, which edgelm reads as GGUF and does not write yet",
            hint="docs/export.md lists what is written as GGUF",
        )
    for each in (kind, outer):
        if each in _OTHERS:
            return _variant(ARCHITECTURES[_architecture(each, settings)], names)
    for family in ARCHITECTURES.values():
        for variant in (family, *family.others):
            if variant.model_type in (kind, outer):
                return _versioned(variant, settings)
    raise UnsupportedError(
        f"{source} is of the architecture {outer!r}, of which edgelm writes no GGUF",
        hint="docs/gguf.md lists those that it reads and writes",
    )


def _architecture(kind: str, settings: ModelSettings) -> str:
    """Mistral 3's wrapper holds a Ministral 3 as well as a Mistral; Granite 4 without a state space is another one."""
    if kind == "granitemoehybrid" and set(settings.get("layer_types", default=["mamba"])) == {"attention"}:
        return "granitemoe"
    return _OTHERS[kind]


def _variant(family: GGUFFamily, names: Mapping[str, Any]) -> GGUFFamily:
    """Choose of several tables of one architecture the one that places most of the tensors."""
    return max((family, *family.others), key=lambda each: _placed(each, names))


def _placed(family: GGUFFamily, names: Mapping[str, Any]) -> int:
    ends = {tensor.name for rule in family.block for tensor in rule.network}
    prefixes = [name.partition(f"{family.prefix}0.")[2] for name in names]
    return len(ends & set(prefixes))


def _versioned(variant: GGUFFamily, settings: ModelSettings) -> GGUFFamily:
    """Ling's second version has a bias for the choice of experts, and its own norms of q and k."""
    if variant.architecture == "bailingmoe" and "V2" in str(settings.get("architectures", default="")):
        return ARCHITECTURES["bailingmoe2"]
    return variant
