"""Architectures that need bfloat16's range. Knows configs, not weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NEEDS_BFLOAT16 = ("gemma", "t5", "glm4", "plamo2", "gpt_oss")
"""In the name of an architecture whose activations overflow float16 (65504).

Gemma 2 and 3, GLM-4 and PLaMo 2: vllm/config/model.py, _FLOAT16_NOT_SUPPORTED_MODELS. T5: transformers keeps its `wo` in
float32 (modeling_t5.py, _keep_in_fp32_modules). gpt-oss was trained and is published in bfloat16 and MXFP4 alone.
"""


def needs_bfloat16(config: Mapping[str, Any]) -> bool:
    """Return whether the architecture of `config`, or of its text model, is among these, wrappers (paligemma, t5gemma) too."""
    text = config.get("text_config")
    kinds = [config.get("model_type"), text.get("model_type") if isinstance(text, Mapping) else None]
    return any(name in str(kind) for kind in kinds if kind for name in NEEDS_BFLOAT16)
