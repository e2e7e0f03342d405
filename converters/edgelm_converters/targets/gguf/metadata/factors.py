"""How positions are scaled: llama.cpp's keys, and the tensors of factors that it divides frequencies by.

Sources: llama.cpp's conversion/base.py, conversion/llama.py (`generate_extra_tensors`), conversion/phi.py, conversion/gemma.py;
transformers' modeling_rope_utils.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.rope import llama3_factors
from edgelm_converters.targets.gguf.metadata.keys import Offered
from edgelm_converters.targets.gguf.metadata.settings import ModelSettings

Factors = dict[str, npt.NDArray[np.float32]]
NOT_TURNED = 1e30
"""What llama.cpp divides the frequency of a pair by that stays where it is."""

_YARN = {
    "beta_fast": "rope.scaling.yarn_beta_fast",
    "beta_slow": "rope.scaling.yarn_beta_slow",
    "attention_factor": "rope.scaling.yarn_attn_factor",
}


def rope_scaling(settings: ModelSettings) -> tuple[Offered, Factors]:
    """Return the keys and the factor tensors of a config's rope scaling; both empty for none.

    Raises:
        UnsupportedError: a kind that GGUF does not have.
    """
    rope, kind = settings.rope, settings.rope_kind
    if kind in ("default", "mrope"):
        return {}, {}
    if kind == "linear":
        return {"rope.scaling.type": "linear", "rope.scaling.factor": float(rope["factor"])}, {}
    if kind == "yarn":
        return _yarn(rope, settings), {}
    if kind in ("longrope", "su"):
        return _longrope(rope, settings)
    if kind == "llama3":
        return {}, {"rope_freqs.weight": _llama3(rope, settings)}
    if kind == "proportional":
        return {}, {"rope_freqs.weight": _proportional(rope, settings)}
    raise UnsupportedError(f"GGUF has no rope scaling {kind!r}: it has linear, yarn, longrope and llama3")


def _yarn(rope: Mapping[str, Any], settings: ModelSettings) -> Offered:
    original = rope.get("original_max_position_embeddings") or settings.size("max_position_embeddings")
    keys: Offered = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": float(rope["factor"]),
        "rope.scaling.original_context_length": int(original),
    }
    return keys | {key: float(rope[name]) for name, key in _YARN.items() if rope.get(name) is not None}


def _longrope(rope: Mapping[str, Any], settings: ModelSettings) -> tuple[Offered, Factors]:
    original = rope.get("original_max_position_embeddings") or settings.get(
        "original_max_position_embeddings", "max_position_embeddings"
    )
    tensors = {
        f"rope_factors_{name}.weight": np.asarray(rope[f"{name}_factor"], np.float32)
        for name in ("long", "short")
    }
    keys = {"rope.scaling.type": "longrope", "rope.scaling.original_context_length": int(original)}
    return keys, tensors


def _llama3(rope: Mapping[str, Any], settings: ModelSettings) -> npt.NDArray[np.float32]:
    dims, base = settings.rotated, settings.rope_base or 10_000.0
    wavelengths = 2 * math.pi * base ** (np.arange(0, dims, 2) / dims)
    original = rope.get("original_max_position_embeddings", 8192)
    low, high = rope.get("low_freq_factor", 1.0), rope.get("high_freq_factor", 4.0)
    return llama3_factors(wavelengths, float(rope.get("factor", 8.0)), original, low, high).astype(np.float32)


def _proportional(rope: Mapping[str, Any], settings: ModelSettings) -> npt.NDArray[np.float32]:
    """Gemma 4's wide heads, of which a part of the pairs turns."""
    pairs = settings.get("global_head_dim", default=settings.head) // 2
    turned = int(pairs * rope.get("partial_rotary_factor", 1.0))
    return np.asarray([1.0] * turned + [NOT_TURNED] * (pairs - turned), np.float32)
