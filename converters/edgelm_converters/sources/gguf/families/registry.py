"""All families, by llama.cpp's name of the architecture."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.dense import gemma, gemma3n, granite, llama, olmo2, phi, qwen
from edgelm_converters.sources.gguf.families.experts import deepseek, gemma4, glm, gpt_oss, llama4
from edgelm_converters.sources.gguf.families.experts import qwen as qwen_experts
from edgelm_converters.sources.gguf.families.family import GGUFFamily

_MODULES: tuple[tuple[GGUFFamily, ...], ...] = (
    llama.FAMILIES,
    qwen.FAMILIES,
    gemma.FAMILIES,
    gemma3n.FAMILIES,
    phi.FAMILIES,
    olmo2.FAMILIES,
    granite.FAMILIES,
    qwen_experts.FAMILIES,
    gpt_oss.FAMILIES,
    gemma4.FAMILIES,
    glm.FAMILIES,
    llama4.FAMILIES,
    deepseek.FAMILIES,
)

ARCHITECTURES: dict[str, GGUFFamily] = {
    family.architecture: family for families in _MODULES for family in families
}
