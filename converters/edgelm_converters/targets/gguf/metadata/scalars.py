"""Tensors of one value that a file has among its keys: the numbers of Apertus' activation, by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.gguf.families.dense.llama_like import XIELU


def without_scalars(
    architecture: str, tensors: Mapping[str, LazyTensor], layers: int
) -> tuple[dict[str, LazyTensor], dict[str, Any]]:
    """Return the other tensors, and the keys that those of one value become."""
    if architecture != "apertus":
        return dict(tensors), {}
    kept, values = dict(tensors), {}
    for name in XIELU:
        found = [kept.pop(f"model.layers.{layer}.mlp.act_fn.{name}", None) for layer in range(layers)]
        if all(tensor is not None for tensor in found):
            values[f"xielu.{name}"] = [
                float(np.asarray(tensor.read())) for tensor in found if tensor is not None
            ]
    return kept, values
