"""What a weight costs on the disk, from the headers of the files: no tensor is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelm.zoo.weights.files import read_headers
from edgelm.zoo.weights.safetensors_header import TensorInfo

_WIDTHS = (2, 3, 4, 5, 6, 8)
_PACKED = "U32"
"""The type in which MLX packs codes."""


def measure_bits_per_weight(directory: Path, config: Mapping[str, Any]) -> float | None:
    """Measure the bits per weight over all tensors of a model directory, scales included.

    Args:
        config: its config.json; `quantization` says how wide the codes are.

    Returns:
        None where the weights are packed in a way that is not MLX's.

    Raises:
        NotFoundError: no weights.
        FormatError: a broken header.
    """
    tensors = read_headers(directory)
    if "quantization" not in config and "quantization_config" in config:
        return None
    weights = sum(count_weights(name, info, tensors, config) for name, info in tensors.items())
    stored_bits = 8 * sum(info.size_bytes for info in tensors.values())
    return round(stored_bits / weights, 3) if weights else None


def count_weights(
    name: str, info: TensorInfo, tensors: Mapping[str, TensorInfo], config: Mapping[str, Any]
) -> int:
    """Count the weights that one tensor stands for: codes are unpacked, and their scales and biases count as none."""
    layer, _, part = name.rpartition(".")
    weight = tensors.get(f"{layer}.weight")
    if f"{layer}.scales" not in tensors or weight is None or weight.dtype != _PACKED:
        return math.prod(info.shape)
    if part == "weight":
        return math.prod(info.shape) * 32 // _bits_of(layer, config, weight, tensors[f"{layer}.scales"])
    return 0 if part in ("scales", "biases") else math.prod(info.shape)


def _bits_of(layer: str, config: Mapping[str, Any], weight: TensorInfo, scales: TensorInfo) -> int:
    """Return the layer's bits by the config; else by the default width or group, whichever the shapes leave possible."""
    default = config.get("quantization")
    default = default if isinstance(default, dict) else {}
    own = default.get(layer)
    said = own if isinstance(own, dict) else default
    bits, group = said.get("bits", 4), said.get("group_size", 64)
    bits = bits if isinstance(bits, int) and bits > 0 else 4
    product = weight.shape[-1] * 32 // max(1, scales.shape[-1])  # bits x group
    fits = isinstance(group, int) and group > 0 and product % group == 0 and product // group in _WIDTHS
    return product // group if fits and not isinstance(own, dict) and product != bits * group else bits
