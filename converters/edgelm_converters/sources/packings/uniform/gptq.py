"""GPTQ: codes and zero points in little-endian streams, as AutoGPTQ and GPTQModel write them.

`qweight` [C * bits / 32, R] packs along the inputs, `qzeros` [G, R * bits / 32] along the outputs, `scales` [G, R],
`g_idx` [C] is the group of every input. Version 1 stores a zero less by one (and wraps: AutoGPTQ 0.7.1 adds one and masks),
version 2 (`checkpoint_format: gptq_v2`) as it is. What a module is packed with follows from its shapes, so that settings
by module (`dynamic`, `extra_config`) need no reading. Transposed, `qweight` is MLX's own stream bit for bit.
Source: AutoGPTQ 0.7.1 `nn_modules/qlinear/qlinear_cuda.py`, GPTQModel `nn_modules/qlinear/torch.py` and `utils/model.py`.
"""

from __future__ import annotations

import functools

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.packed_format import PackedSource, Presented
from edgelm_converters.sources.packings.uniform.affine_weight import AffineWeight, StoredGrid, grid_of
from edgelm_converters.sources.packings.uniform.awq import present_gemm
from edgelm_converters.sources.packings.uniform.describe import describe
from edgelm_converters.sources.packings.uniform.module_parts import ModuleParts, is_transposed
from edgelm_converters.sources.packings.uniform.streams import STORED_BITS, unpacked_stream

VERSIONS = {"gptq": 1, "": 1, "gptq_v2": 2}
"""`checkpoint_format` → how zero points are stored. The others are made for one kernel each."""


class GPTQ:
    """Published by AutoGPTQ, GPTQModel, and everything that writes their format."""

    name = "GPTQ"

    def recognise(self, source: PackedSource) -> bool:
        """Tell from settings and names of tensors whether the checkpoint is in this format."""
        return source.method in ("gptq", "") and bool(source.of_modules("qweight"))

    def present(self, source: PackedSource, result: Presented) -> None:
        """Put every module of the format into `result`; see `PackedFormat`."""
        version = version_of(source)
        for path, tensors in source.of_modules("qweight").items():
            parts = ModuleParts(source, path, tensors)
            if _is_awq(parts):
                present_gemm(parts, result)
            else:
                present_gptq(parts, result, version)
        describe(self.name, result)


def _is_awq(parts: ModuleParts) -> bool:
    """Whether codes lie along the outputs, as AutoAWQ's do: some tools call that GPTQ, and so does mlx-lm."""
    shapes = [parts.tensors[name].shape for name in ("qweight", "scales") if name in parts]
    return len(shapes) == 2 and all(len(shape) == 2 for shape in shapes) and shapes[0][1] < shapes[1][1]


def version_of(source: PackedSource) -> int:
    """Return how zero points are stored: 1, less by one; 2, as they are.

    Raises:
        UnsupportedError: a layout for one kernel, by its name.
    """
    settings = source.settings
    said = settings.get("checkpoint_format") or settings.get("format") or ""
    if settings.get("is_marlin_format"):
        said = "marlin"
    version = VERSIONS.get(str(said).lower())
    if version is None:
        raise UnsupportedError(
            f"{source.where} is packed as GPTQ ({said}), a layout for one GPU kernel, expected gptq or gptq_v2",
            hint="look for a release of the same model in GPTQ's own format, in bfloat16 or as GGUF",
        )
    return version


def present_gptq(parts: ModuleParts, result: Presented, version: int) -> None:
    """Put one module of `qweight`, `qzeros`, `scales` and `g_idx` into `result`."""
    scales = parts.floats("scales", dimensions=2)
    groups, rows = scales.shape
    qweight = parts.words("qweight", dimensions=2)
    qzeros = parts.words("qzeros", dimensions=2) if "qzeros" in parts else None
    bits = _bits(parts, rows, qzeros, groups)
    if qweight.shape[1] != rows or qweight.shape[0] * 32 % bits:
        raise parts.refuse(f"have shapes {qweight.shape} and {scales.shape} that do not fit {bits} bits")
    columns = qweight.shape[0] * 32 // bits
    order = _order(parts, columns, groups)
    group_size = parts.group_size(columns, groups) if order is None else 0
    weight = AffineWeight(
        rows,
        columns,
        bits,
        f"GPTQ {bits}-bit",
        scales.dtype,
        functools.partial(_codes, qweight, bits),
        functools.partial(_grid, scales, qzeros, bits, version),
        group_size,
        order,
        packed=functools.partial(_transposed, qweight) if STORED_BITS[bits] == bits else None,
    )
    weight.present(parts.path, result, is_transposed=is_transposed(parts.source, parts.path))
    result.used |= parts.names("qweight", "qzeros", "scales", "g_idx")


def _bits(parts: ModuleParts, rows: int, qzeros: LazyTensor | None, groups: int) -> int:
    """Bits by the shape of the zero points, which settings by module cannot contradict; else as the settings say."""
    if qzeros is None:
        return parts.bits()
    if qzeros.shape[0] != groups or rows < 1 or qzeros.shape[1] * 32 % rows:
        raise parts.refuse(f"have zero points of {qzeros.shape} for {groups} groups of {rows} rows")
    return parts.checked_bits(qzeros.shape[1] * 32 // rows)


def _order(parts: ModuleParts, columns: int, groups: int) -> npt.NDArray[np.integer] | None:
    if "g_idx" not in parts:
        return None
    order = parts.integers("g_idx")
    if order.shape != (columns,) or order.min() < 0 or order.max() >= groups:
        raise parts.refuse(
            f"have a g_idx that does not name one of {groups} groups for each of {columns} inputs"
        )
    return order


def _transposed(qweight: LazyTensor) -> mx.array:
    return mx.contiguous(qweight.read().T).view(mx.uint32)


def _codes(qweight: LazyTensor, bits: int, start: int, stop: int) -> mx.array:
    return unpacked_stream(mx.contiguous(qweight.read()[:, start:stop].T), bits)


def _grid(scales: LazyTensor, qzeros: LazyTensor | None, bits: int, version: int) -> StoredGrid:
    if qzeros is None:
        return grid_of(scales.read().T, 1 << (bits - 1))
    zeros = unpacked_stream(qzeros.read(), bits).T
    if version == 1:
        zeros = (zeros + 1) & ((1 << bits) - 1)
    return grid_of(scales.read().T, zeros)
