"""What a file says of the whole: name, licence, where it comes from, how it is quantized, what sampling its makers advise.

Source: llama.cpp's gguf/constants.py (`Keys.General`, `LlamaFileType`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gguf.constants import GGML_QUANT_VERSION, LlamaFileType

from edgelm_converters.sources.checkpoint import SourceOrigin
from edgelm_converters.sources.gguf.types.kinds import Kind

_FILE_TYPES: Mapping[Kind, LlamaFileType] = {
    Kind.F32: LlamaFileType.ALL_F32,
    Kind.F16: LlamaFileType.MOSTLY_F16,
    Kind.BF16: LlamaFileType.MOSTLY_BF16,
    Kind.Q4_0: LlamaFileType.MOSTLY_Q4_0,
    Kind.Q4_1: LlamaFileType.MOSTLY_Q4_1,
    Kind.Q5_0: LlamaFileType.MOSTLY_Q5_0,
    Kind.Q5_1: LlamaFileType.MOSTLY_Q5_1,
    Kind.Q8_0: LlamaFileType.MOSTLY_Q8_0,
    Kind.IQ4_NL: LlamaFileType.MOSTLY_IQ4_NL,
    Kind.Q2_K: LlamaFileType.MOSTLY_Q2_K_S,
    Kind.Q3_K: LlamaFileType.MOSTLY_Q3_K_S,
    Kind.Q4_K: LlamaFileType.MOSTLY_Q4_K_S,
    Kind.Q5_K: LlamaFileType.MOSTLY_Q5_K_S,
    Kind.Q6_K: LlamaFileType.MOSTLY_Q6_K,
    Kind.MXFP4: LlamaFileType.MOSTLY_MXFP4_MOE,
}
_SAMPLING = {
    "temperature": "temp",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "penalty_repeat",
    "penalty_last_n": "penalty_last_n",
}
_WHOLE = ("top_k", "penalty_last_n")


def described(
    architecture: str, origin: SourceOrigin, name: str, weights: Mapping[Kind, int], kind: str = "model"
) -> dict[str, Any]:
    """Return the general keys.

    Args:
        name: of the model.
        weights: how many are stored as each type.
        kind: "model" or "adapter".
    """
    values: dict[str, Any] = {
        "general.architecture": architecture,
        "general.type": kind,
        "general.name": name,
        "general.quantized_by": "edgelm",
    }
    if origin.licence:
        values["general.license"] = origin.licence
    if origin.kind == "huggingface" and "/" in origin.source and not origin.source.startswith(("/", ".")):
        values["general.source.url"] = f"https://huggingface.co/{origin.source}"
    most = Counter(weights).most_common(1)[0][0]
    if most in _FILE_TYPES:
        values["general.file_type"] = int(_FILE_TYPES[most])
    values["general.quantization_version"] = int(GGML_QUANT_VERSION)
    return values


def sampling(generation: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the sampling that a generation config advises; greedy is a temperature of 0."""
    said = generation or {}
    if said.get("do_sample") is False:
        return {"general.sampling.temp": 0.0}
    return {
        f"general.sampling.{key}": int(value) if name in _WHOLE else float(value)
        for name, key in _SAMPLING.items()
        if isinstance(value := said.get(name), int | float) and not isinstance(value, bool)
    }
