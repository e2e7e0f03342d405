"""All families, by llama.cpp's name of the architecture."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.dense import (
    cohere,
    exaone,
    exaone4,
    gemma,
    gemma3n,
    granite,
    hunyuan,
    layer_norm,
    llama,
    llama_like,
    minicpm,
    olmo2,
    phi,
    qwen,
)
from edgelm_converters.sources.gguf.families.experts import (
    deepseek,
    ernie,
    gemma4,
    glm,
    gpt_oss,
    llama4,
    sigmoid,
)
from edgelm_converters.sources.gguf.families.experts import qwen as qwen_experts
from edgelm_converters.sources.gguf.families.family import GGUFFamily
from edgelm_converters.sources.gguf.families.fused import bailing, gpt, internlm2
from edgelm_converters.sources.gguf.families.hybrid import (
    falcon_h1,
    jamba,
    kimi,
    lfm2,
    mamba,
    nemotron_h,
)
from edgelm_converters.sources.gguf.families.hybrid import granite as granite_hybrid
from edgelm_converters.sources.gguf.families.hybrid import qwen as qwen_hybrid
from edgelm_converters.sources.gguf.families.wrapped import qwen_vl

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
    exaone.FAMILIES,
    minicpm.FAMILIES,
    gpt.FAMILIES,
    internlm2.FAMILIES,
    bailing.FAMILIES,
    mamba.FAMILIES,
    jamba.FAMILIES,
    falcon_h1.FAMILIES,
    granite_hybrid.FAMILIES,
    nemotron_h.FAMILIES,
    lfm2.FAMILIES,
    kimi.FAMILIES,
    qwen_hybrid.FAMILIES,
    qwen_vl.FAMILIES,
    cohere.FAMILIES,
    exaone4.FAMILIES,
    hunyuan.FAMILIES,
    llama_like.FAMILIES,
    layer_norm.FAMILIES,
    sigmoid.FAMILIES,
    ernie.FAMILIES,
)

ARCHITECTURES: dict[str, GGUFFamily] = {
    family.architecture: family for families in _MODULES for family in families
}
