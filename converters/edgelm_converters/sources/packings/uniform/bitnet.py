"""BitNet b1.58: ternary weights, four to a byte.

`weight` [R / 4, C] of bytes holds row i of four equal blocks of rows in its bits 0-1, 2-3, 4-5 and 6-7, as w + 1.
`weight_scale` [1] divides what `BitLinear` gives and multiplies what `AutoBitLinear` gives. MLX holds both as affine
codes of 2 bits: a scale s and a bias -s, exactly. What the tools do to activations (8 bits a token) no network of MLX does.
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
from edgelm_converters.sources.packings.uniform.module_parts import ModuleParts

PER_BYTE = 4


class BitNet:
    """Published by Microsoft and TII."""

    name = "BitNet"

    def recognise(self, source: PackedSource) -> bool:
        """Tell from settings and names of tensors whether the checkpoint is in this format."""
        return source.method == "bitnet" and bool(_modules(source))

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
        for path, tensors in _modules(source).items():
            parts = ModuleParts(source, path, tensors)
            _present_module(parts, result, is_multiplied)
            result.used |= parts.names("weight", "weight_scale")
        result.notes.append("activations stay in full: BitNet's own tools round them to 8 bits a token")
        describe(self.name, result)


def _modules(source: PackedSource) -> dict[str, dict[str, LazyTensor]]:
    return {
        path: parts
        for path, parts in source.of_modules("weight_scale").items()
        if "weight" in parts and parts["weight"].dtype == mx.uint8
    }


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
