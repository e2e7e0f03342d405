"""Packed tensors as a reader is handed them, and what it makes of them, without a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.packed_format import PackedFormat, PackedSource, Presented

KINDS = {
    torch.float32: ("F32", mx.float32), torch.float16: ("F16", mx.float16), torch.bfloat16: ("BF16", mx.bfloat16),
    torch.int32: ("I32", mx.int32), torch.int64: ("I64", mx.int64), torch.int16: ("I16", mx.int16),
    torch.uint8: ("U8", mx.uint8), torch.int8: ("I8", mx.int8), torch.bool: ("BOOL", mx.bool_),
    torch.float8_e4m3fn: ("F8_E4M3", mx.uint8),
}  # fmt: skip


def as_mlx(tensor: torch.Tensor) -> mx.array:
    """The same values and dtype."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return mx.array(tensor.view(torch.int16).numpy()).view(mx.bfloat16)
    if tensor.dtype == torch.float8_e4m3fn:
        tensor = tensor.view(torch.uint8)
    return mx.array(tensor.numpy())


def lazy(tensor: torch.Tensor) -> LazyTensor:
    """`tensor` as a source presents it."""
    stored_as, dtype = KINDS[tensor.dtype]
    return LazyTensor(tuple(tensor.shape), dtype, lambda: as_mlx(tensor), stored_as)


def source_of(
    parts: Mapping[str, torch.Tensor], settings: Mapping[str, Any], *, path: str = "m", **config: Any
) -> PackedSource:
    """A checkpoint of one module."""
    tensors = {f"{path}.{last}": lazy(part) for last, part in parts.items()}
    return PackedSource(tensors, settings, {"model_type": "llama", **config}, "here")


def present(packing: PackedFormat, source: PackedSource) -> Presented:
    """What `packing` makes of `source`, which it must recognise."""
    assert packing.recognise(source)
    result = Presented()
    packing.present(source, result)
    return result


def values_of(result: Presented, path: str = "m") -> np.ndarray:
    """The module's weight in float32; every tensor must be read as it was announced."""
    arrays = {}
    for name, tensor in result.tensors.items():
        array = tensor.read()
        assert tuple(array.shape) == tensor.shape
        assert array.dtype == tensor.dtype
        arrays[name] = array
    settings = result.quantization.get(path)
    if settings is None:
        return np.array(arrays[f"{path}.weight"])
    scales = arrays[f"{path}.scales"]
    # As they are kept: see `PackedFormat`'s `keep`.
    biases = arrays[f"{path}.biases"].astype(scales.dtype).astype(mx.float32)
    scales = scales.astype(mx.float32)
    weight = arrays[f"{path}.weight"]
    return np.array(mx.dequantize(weight, scales, biases, settings["group_size"], settings["bits"]))
