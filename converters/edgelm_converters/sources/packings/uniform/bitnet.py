"""BitNet b1.58: ternary weights, four to a byte.

`weight` [R / 4, C] of bytes holds row i of four equal blocks of rows in its bits 0-1, 2-3, 4-5 and 6-7, as w + 1.
`weight_scale` [1] divides what `BitLinear` gives and multiplies what `AutoBitLinear` gives. MLX holds both as affine
codes of 2 bits: a scale s and a bias -s, exactly. Where `quantization_mode` is `online`, weights lie there in full,
and the layers round them. What the tools do to activations (8 bits a token) no network of MLX does.
Source: transformers 5.24 `integrations/bitnet.py`.
"""

from __future__ import annotations

import math

import mlx.core as mx

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.packed_format import SCALE_DTYPES, PackedSource, Presented
from edgelm_converters.sources.packings.uniform.affine_weight import AffineWeight, StoredGrid
from edgelm_converters.sources.packings.uniform.describe import describe
from edgelm_converters.sources.packings.uniform.groups import requantized_settings
from edgelm_converters.sources.packings.uniform.module_parts import ModuleParts

PER_BYTE = 4


class BitNet:
    """Published by Microsoft and TII."""

    name = "BitNet"

    def recognise(self, source: PackedSource) -> bool:
        """Tell from settings and names of tensors whether the checkpoint is in this format."""
        return source.method == "bitnet" and (_is_online(source) or bool(source.of_modules("weight_scale")))

    def present(self, source: PackedSource, result: Presented) -> None:
        """Put every module of the format into `result`; see `PackedFormat`."""
        settings = source.settings
        if settings.get("use_rms_norm"):
            raise UnsupportedError(
                f"{source.where} is packed as BitNet with a norm before every layer (use_rms_norm), "
                "which edgelm does not read",
                hint="look for a release of the same model in bfloat16 or as GGUF",
            )
        is_multiplied = settings.get("linear_class") == "autobitlinear"
        for path, tensors in source.of_modules("weight_scale").items():
            parts = ModuleParts(source, path, tensors)
            if parts.take("weight", (mx.uint8, *SCALE_DTYPES), 2).dtype == mx.uint8:
                _present_module(parts, result, is_multiplied)
            else:
                _present_scaled(parts, result)
            result.used |= parts.names("weight", "weight_scale")
        if _is_online(source):
            for path, tensors in source.of_modules("weight").items():
                if "weight_scale" not in tensors and _is_converted(source, path, tensors["weight"]):
                    present_online(ModuleParts(source, path, tensors), result)
                    result.used.add(f"{path}.weight")
        result.notes.append("activations stay in full: BitNet's own tools round them to 8 bits a token")
        describe(self.name, result)


def _is_online(source: PackedSource) -> bool:
    """Whether weights lie there in full, to be rounded by the layers that hold them."""
    settings = source.settings
    return settings.get("linear_class") == "autobitlinear" and settings.get("quantization_mode") == "online"


def _is_converted(source: PackedSource, path: str, weight: LazyTensor) -> bool:
    """Whether the weight is a linear layer's that transformers replaces; see its `should_convert_module`."""
    if len(weight.shape) != 2 or weight.dtype not in SCALE_DTYPES or "embed" in path.rpartition(".")[2]:
        return False
    said = source.settings.get("modules_to_not_convert")
    left = [name for name in said if isinstance(name, str)] if isinstance(said, list) else ["lm_head"]
    return not any(path == name or path.startswith(f"{name}.") or path.endswith(name) for name in left)


def _present_module(parts: ModuleParts, result: Presented, is_multiplied: bool) -> None:
    weight = parts.take("weight", (mx.uint8,), 2)
    scale = parts.take("weight_scale", SCALE_DTYPES, None)
    if math.prod(scale.shape) != 1:
        raise parts.refuse(f"have a weight_scale of {list(scale.shape)}, expected one number")
    block, columns = weight.shape
    rows = block * PER_BYTE

    def codes(start: int, stop: int) -> mx.array:
        index = mx.arange(start, stop)
        shifts = (index // block * 2).astype(mx.uint8)
        return (weight.read()[index % block] >> shifts[:, None]) & 3

    def grid() -> StoredGrid:
        value = scale.read().reshape(1, 1).astype(mx.float32)
        scales = mx.broadcast_to(value if is_multiplied else 1 / value, (rows, 1))
        return StoredGrid(scales, -scales)

    AffineWeight(rows, columns, 2, "ternary", scale.dtype, codes, grid, columns).present(parts.path, result)


def _present_scaled(parts: ModuleParts, result: Presented) -> None:
    """Put a module into `result` whose ternary weights are floats, and multiplied by their scale."""
    weight, scale = parts.take("weight", SCALE_DTYPES, 2), parts.take("weight_scale", SCALE_DTYPES, None)
    if math.prod(scale.shape) != 1:
        raise parts.refuse(f"have a weight_scale of {list(scale.shape)}, expected one number")

    def values() -> mx.array:
        return weight.read().astype(mx.float32) * scale.read().astype(mx.float32).reshape(1, 1)

    settings = requantized_settings(2, weight.shape[1])
    result.unpack(f"{parts.path}.weight", weight.shape, values, "ternary", settings)


def present_online(parts: ModuleParts, result: Presented) -> None:
    """Put a module into `result` as the layer rounds it: w / mean |w| to -1, 0 or 1 (`WeightQuant`)."""
    weight = parts.take("weight", SCALE_DTYPES, 2)
    rows, columns = weight.shape

    def inverse() -> mx.array:
        # By rows first: a float32 sum of a whole matrix loses digits.
        return 1 / mx.maximum(mx.abs(weight.read().astype(mx.float32)).mean(axis=1).mean(), 1e-5)

    def codes(start: int, stop: int) -> mx.array:
        steps = weight.read()[start:stop].astype(mx.float32) * inverse()
        return (mx.clip(mx.round(steps), -1, 1) + 1).astype(mx.uint8)

    def grid() -> StoredGrid:
        scales = mx.broadcast_to((1 / inverse()).reshape(1, 1), (rows, 1))
        return StoredGrid(scales, -scales)

    AffineWeight(rows, columns, 2, "ternary", weight.dtype, codes, grid, columns).present(parts.path, result)
