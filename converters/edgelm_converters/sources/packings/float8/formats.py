"""The settings `fp8`, `fbgemm_fp8`, `mxfp8` and `mxfp4`, and checkpoints whose tensors alone say that they are such."""

from __future__ import annotations

import math

import mlx.core as mx

from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.float8.codes import EXPONENTS
from edgelm_converters.sources.packings.float8.fp4 import BYTES, is_fp4, keep_mx4, present_fp4
from edgelm_converters.sources.packings.float8.fp8 import (
    describe,
    is_float8,
    leave_out_activations,
    present_float8,
    scale_of,
)
from edgelm_converters.sources.packings.float8.scale_grid import find_grid
from edgelm_converters.sources.packings.packed_format import PackedSource, Presented, lazily

_METHODS = ("fp8", "mxfp8", "fbgemm-fp8", "mxfp4", "nvfp4", "quark")


class SmallFloatFormat:
    """FP8 in every layout, DeepSeek-V4's experts of 4 bits and gpt-oss's MXFP4, which may lie in one checkpoint."""

    name = "FP8"

    def recognise(self, source: PackedSource) -> bool:
        """Tell whether this packing is there, as `PackedFormat` has it."""
        if source.method and source.method not in _METHODS:
            return False
        return any(_is_weight8(name, tensor) for name, tensor in source.tensors.items()) or any(
            _is_block(name, source) or (source.method in _METHODS and _is_small_float(name, tensor, source))
            for name, tensor in source.tensors.items()
        )

    def present(self, source: PackedSource, result: Presented) -> None:
        """Present every packed module, as `PackedFormat` has it."""
        for name, tensor in source.tensors.items():
            if _is_block(name, source):
                _present_block(name, source, result)
            elif len(tensor.shape) < 2 or name in result.used or _is_a_scale(name, source):
                continue
            elif _is_weight8(name, tensor):
                present_float8(name, source, result)
            elif _is_small_float(name, tensor, source):
                scale = scale_of(name, source)
                assert scale is not None
                if is_fp4(tensor, source.tensors[scale]):
                    present_fp4(name, name, scale, None, source, result)
                else:
                    present_float8(name, source, result)
        leave_out_activations(source, result)
        describe("MXFP4" if source.method == "mxfp4" else self.name, source, result)


def _is_weight8(name: str, tensor: LazyTensor) -> bool:
    """Whether 8-bit floats are a weight, and not a part of some other packing."""
    return is_float8(tensor) and (name.endswith((".weight", "_proj")) or len(tensor.shape) == 3)


def _is_a_scale(name: str, source: PackedSource) -> bool:
    return (
        name.endswith(("scale", "scale_inv"))
        and name.removesuffix("_inv").removesuffix("_scale") in source.tensors
    )


def _is_small_float(name: str, tensor: LazyTensor, source: PackedSource) -> bool:
    """Whether bytes stand for floats of 4 or 8 bits, by their scale."""
    scale = source.tensors.get(scale_of(name, source) or "")
    if scale is None or not scale.shape or tensor.stored_as not in BYTES or len(tensor.shape) < 2:
        return False
    is_mx8 = scale.stored_as in EXPONENTS and find_grid(tensor.shape, scale.shape) is not None
    return is_fp4(tensor, scale) or (is_mx8 and tensor.shape[-1] == scale.shape[-1] * 32)


def _is_block(name: str, source: PackedSource) -> bool:
    """Whether a tensor is gpt-oss's: [E, O, G, 16] bytes beside [E, O, G] exponents."""
    if not name.endswith("_blocks"):
        return False
    blocks, scales = source.tensors[name], source.tensors.get(f"{name.removesuffix('_blocks')}_scales")
    return (
        scales is not None
        and scales.stored_as in EXPONENTS
        and blocks.stored_as in BYTES
        and blocks.shape == (*scales.shape, 16)
        and len(scales.shape) in (2, 3)
        and math.prod(scales.shape) > 0
    )


def _present_block(name: str, source: PackedSource, result: Presented) -> None:
    """Rows as they lie there, [E, O, G * 32], which is how mlx-lm's gpt-oss names unpacked experts too."""
    stem = name.removesuffix("_blocks")
    blocks, scales = source.tensors[name], source.tensors[f"{stem}_scales"]
    flat = (*scales.shape[:-1], scales.shape[-1] * 16)
    result.used.update((name, f"{stem}_scales"))
    path = stem.removesuffix(".weight")
    codes = lazily(lambda stored: stored.reshape(flat), flat, mx.uint8, blocks)
    keep_mx4(path, codes, scales, f"{source.where}: {name}", result)
