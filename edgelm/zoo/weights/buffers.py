"""Tensors beside the weights: buffers that a network makes for itself, and weights that are of no type to compute with.

torch saves positions, masks, counts of batches and rotation tables among the weights, unless they are declared not to be;
transformers passes over what its network does not have. A tensor of integers or truth values that a network has no parameter
for is no weight; one where it has one of floats is refused by name, since MLX would take it for what it is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import mlx.core as mx

from edgelm.errors import FormatError

_TABLES = re.compile(r"(?:^|\.)(?:masked_bias|(?:original_)?inv_freq|(?:cos|sin)_cached)$")
"""Buffers of floats: GPT-2's mask value, and rotations, which every network of mlx-lm computes."""


def buffers_in(tensors: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Return the names in `tensors` that are of no use to a network with the parameters `known`.

    Args:
        tensors: anything with a `dtype`, by the network's names.
    """
    return [
        name
        for name, tensor in tensors.items()
        if name not in known and (not mx.issubdtype(tensor.dtype, mx.floating) or _TABLES.search(name))
    ]


def refuse_other_types(tensors: Mapping[str, mx.array], known: Mapping[str, mx.array]) -> None:
    """Refuse integers or truth values for weights, and floats for codes.

    Raises:
        FormatError: the first of them, by name.
    """
    for name, tensor in tensors.items():
        wanted = known.get(name)
        if wanted is None or _is_float(tensor.dtype) == _is_float(wanted.dtype):
            continue
        expected = "floats" if _is_float(wanted.dtype) else "integers"
        raise FormatError(
            f"tensor {name!r} is {str(tensor.dtype).rpartition('.')[2]}, expected {expected}",
            hint="look for a release of the same model in bfloat16, as GGUF or in MLX's format",
        )


def _is_float(dtype: mx.Dtype) -> bool:
    return bool(mx.issubdtype(dtype, mx.floating))
