"""A network as it will be when it is loaded, without a weight: every parameter is one zero, repeated.

Shapes and types follow config, headers and the device's policy (float32 and dequantized on the CPU). Such a network
takes no memory, and nothing of it is worth evaluating.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path

from edgelm import device as devices
from edgelm.pricing.weight_bytes import Headers, price_weights
from edgelm.zoo.network import build_network

_TYPES = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}


def build_unread(config: dict[str, Any], headers: Headers, directory: Path, device: devices.Device) -> Any:
    """Build the network of a normalised config on `device`.

    Raises:
        FormatError, UnsupportedError: see `build_network`.
    """
    network = build_network(config, directory)
    if not price_weights(headers, config, device).is_dequantized:
        _quantize(network, config, headers)
    dtype = _float_type(headers, device)

    def placeholder(_: str, value: mx.array) -> mx.array:
        kind = dtype if mx.issubdtype(value.dtype, mx.floating) else value.dtype
        return mx.broadcast_to(mx.array(0, kind), value.shape)

    network.update(tree_map_with_path(placeholder, network.parameters()))
    return network


def _quantize(network: Any, config: Mapping[str, Any], headers: Headers) -> None:
    settings = config.get("quantization")
    if not isinstance(settings, Mapping):
        return

    def chosen(path: str, module: Any) -> bool | dict[str, Any]:
        if not hasattr(module, "to_quantized") or f"{path}.scales" not in headers:
            return False
        own = settings.get(path)
        return dict(own) if isinstance(own, Mapping) else True

    nn.quantize(
        network,
        group_size=settings.get("group_size", 64),
        bits=settings.get("bits", 4),
        mode=settings.get("mode", "affine"),
        class_predicate=chosen,
    )


def _float_type(headers: Headers, device: devices.Device) -> mx.Dtype:
    """What floating parameters are on the device: the commonest type of the weights, or float32 on the CPU."""
    if devices.runtime_dtype(device) is not None:
        return mx.float32
    names = [info.dtype for info in headers.values() if info.dtype in _TYPES]
    return _TYPES[max(set(names), key=names.count)] if names else mx.bfloat16
