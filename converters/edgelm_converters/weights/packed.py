"""Tensors that arrive quantized: unpacked again when another precision is asked for."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import mlx.core as mx

from edgelm.quant.scheme import Settings, mode_of
from edgelm_converters.sources.checkpoint import LazyTensor


def unpacked(inputs: Mapping[str, LazyTensor], packed: Mapping[str, Settings]) -> dict[str, LazyTensor]:
    """Replace every packed triple of `inputs` by one float32 weight of the same values."""
    tensors: dict[str, LazyTensor] = {}
    for name, tensor in inputs.items():
        path, _, kind = name.rpartition(".")
        if path not in packed or kind not in ("weight", "scales", "biases"):
            tensors[name] = tensor
        elif kind == "weight":
            parts = (tensor, inputs[f"{path}.scales"], inputs.get(f"{path}.biases"))
            shape = (*tensor.shape[:-1], tensor.shape[-1] * 32 // int(packed[path]["bits"]))
            read = functools.partial(_dequantize, *parts, packed[path])
            tensors[name] = LazyTensor(shape, mx.float32, read, tensor.stored_as)
    return tensors


def _dequantize(
    weight: LazyTensor, scales: LazyTensor, biases: LazyTensor | None, settings: Settings
) -> mx.array:
    mode = mode_of(settings)
    scale, bias = scales.read(), biases.read() if biases is not None else None
    if mode == "affine":
        # In the scales' own half precision, code · scale would be rounded once more.
        scale, bias = scale.astype(mx.float32), bias.astype(mx.float32) if bias is not None else None
    return mx.dequantize(
        weight.read(), scale, bias, settings["group_size"], settings["bits"], mode, dtype=mx.float32
    )
