"""What weights cost in memory, and how much of them one token reads: from headers, no tensor is read.

Follows the device's policy: on a GPU weights stay as stored, on the CPU they become float32 and are unpacked
where that fits. Knows nothing about caches.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm import device as devices
from edgelm.errors import OptionError
from edgelm.pricing.shapes import active_share
from edgelm.quant.scheme import Scheme, fit_group, settings_bits_per_weight
from edgelm.zoo.weights.bits import count_weights
from edgelm.zoo.weights.safetensors_header import TensorInfo

Headers = Mapping[str, TensorInfo]

_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_FLOAT8 = ("F8_E4M3", "F8_E5M2")
_HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out)\.|^(?:model\.|transformer\.)?output\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|tok_embeddings|wte|embed_in|word_embeddings|embeddings?)\.")
_EXPERT = re.compile(r"(?<![a-z_])(?:experts|switch_mlp|switch_glu)\.")
_NOT_TEXT = re.compile(r"(?:^|\.)(?:vision_tower|vision_model|visual|audio_tower|multi_modal_projector)\.")


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """Weights of one model on one device."""

    loaded_bytes: int
    read_bytes_per_token: int | None
    """Without embedding rows that are only looked up and experts that are not chosen; None if the
    config does not say how many experts are."""
    float_bytes: int
    """Size of one floating number of the model, so of its activations and cache."""
    is_dequantized: bool


def price_weights(headers: Headers, config: Mapping[str, Any], device: devices.Device) -> WeightBytes:
    """Price the tensors of a model once they are loaded on `device`."""
    kept = {name: info for name, info in headers.items() if not _is_dropped(name, config)}
    packed = {name for name in kept if _is_packed(name, kept)}
    dense = {name: 4 * _count_dense(name, info, kept, config) for name, info in kept.items()}
    is_dequantized = bool(packed) and devices.should_dequantize(device, sum(dense.values()))
    casts = devices.runtime_dtype(device) is not None
    sizes = {
        name: dense[name] if is_dequantized else _stored_bytes(info, casts=casts)
        for name, info in kept.items()
    }
    return WeightBytes(
        loaded_bytes=sum(sizes.values()),
        read_bytes_per_token=_read_per_token(sizes, config),
        float_bytes=4 if casts else _float_bytes(kept),
        is_dequantized=is_dequantized,
    )


def is_quantized(headers: Headers, config: Mapping[str, Any]) -> bool:
    """Return whether the weights are packed codes already, MLX's or another tool's."""
    return (
        "quantization" in config
        or "quantization_config" in config
        or any(_is_packed(n, headers) for n in headers)
    )


def quantize_headers(headers: Headers, config: Mapping[str, Any], bits: int) -> dict[str, TensorInfo]:
    """Return the headers as `edgelm convert --bits` would leave them, in the default group size.

    Raises:
        OptionError: the weights are quantized already, or MLX has no such width.
    """
    if is_quantized(headers, config):
        raise OptionError(
            f"bits is {bits}, but these weights are quantized already",
            hint="leave --bits out, or plan the model they were made from",
        )
    settings = Scheme(bits=bits).settings
    result: dict[str, TensorInfo] = {}
    for name, info in headers.items():
        fitting = fit_group(settings, info.shape[-1]) if _is_matrix(name, info) else None
        result.update({name: info} if fitting is None else _pack(name, info, fitting))
    return result


def bits_per_weight(bits: int) -> float:
    """Return the bits that one weight takes when quantized so, scales counted."""
    return settings_bits_per_weight(Scheme(bits=bits).settings)


def _is_matrix(name: str, info: TensorInfo) -> bool:
    return name.endswith(".weight") and len(info.shape) in (2, 3) and info.dtype in _FLOATS


def _pack(name: str, info: TensorInfo, settings: dict[str, Any]) -> dict[str, TensorInfo]:
    *outer, width = info.shape
    layer = name.removesuffix(".weight")
    codes = (*outer, width * settings["bits"] // 32)
    groups = (*outer, width // settings["group_size"])
    half = "F16" if info.dtype == "F16" else "BF16"
    return {
        name: TensorInfo("U32", codes, 0, 4 * math.prod(codes)),
        f"{layer}.scales": TensorInfo(half, groups, 0, 2 * math.prod(groups)),
        f"{layer}.biases": TensorInfo(half, groups, 0, 2 * math.prod(groups)),
    }


def _is_dropped(name: str, config: Mapping[str, Any]) -> bool:
    """Tensors that mlx-lm's text models do not load."""
    if config.get("tie_word_embeddings") is True and name.startswith("lm_head."):
        return True
    return "text_config" in config and _NOT_TEXT.search(name) is not None


def _is_packed(name: str, headers: Headers) -> bool:
    layer, _, part = name.rpartition(".")
    if part == "qweight":
        return True
    return part == "weight" and headers[name].dtype == "U32" and f"{layer}.scales" in headers


def _count_dense(name: str, info: TensorInfo, headers: Headers, config: Mapping[str, Any]) -> int:
    layer, _, part = name.rpartition(".")
    if f"{layer}.qweight" not in headers:
        return count_weights(name, info, headers, config)
    # GPTQ and AWQ: codes in 32-bit words, beside scales, zero points and the order of the groups.
    bits = config.get("quantization_config", {}).get("bits", 4)
    return math.prod(info.shape) * 32 // int(bits) if part == "qweight" else 0


def _stored_bytes(info: TensorInfo, *, casts: bool) -> int:
    if casts and (info.dtype in _FLOATS or info.dtype in _FLOAT8):
        return 4 * math.prod(info.shape)
    # mlx-lm turns float8 weights into bfloat16 as it reads them.
    return 2 * info.size_bytes if info.dtype in _FLOAT8 else info.size_bytes


def _float_bytes(headers: Headers) -> int:
    """Size of the commonest floating type."""
    types = [info.dtype for info in headers.values() if info.dtype in _FLOATS]
    return _FLOATS[max(set(types), key=types.count)] if types else 2


def _read_per_token(sizes: Mapping[str, int], config: Mapping[str, Any]) -> int | None:
    has_head = any(_HEAD.search(name) for name in sizes)
    looked_up = sum(size for name, size in sizes.items() if has_head and _EMBEDDING.search(name))
    experts = sum(size for name, size in sizes.items() if _EXPERT.search(name))
    rest = sum(sizes.values()) - looked_up - experts
    if not experts:
        return rest
    share = active_share(config)
    return None if share is None else rest + round(experts * share)
