"""AWQ: AutoAWQ's three layouts of 4-bit codes, and AutoRound's streams of other widths in the same order.

- **gemm**: `qweight` [C, R * bits / 32] and `qzeros` [G, R * bits / 32] pack along the outputs, eight at a time in the order
  0, 2, 4, 6, 1, 3, 5, 7; `scales` [G, R];
- **gemv**: `qweight` [R, C / 8] packs along the inputs in order, which is MLX's own stream; `scales` [R, 8 Z] and `qzeros`
  [R, Z] are padded;
- **gemv_fast**: `qweight` [R / 4, C] of 16-bit words, four rows interleaved; `scales` and `qzeros` [8 Z, R] are padded, and a
  zero is stored as the bias that MLX has.

Source: AutoAWQ 0.2.9 `modules/linear/gemm.py`, `gemv.py`, `gemv_fast.py`, `utils/packing_utils.py`; AutoRound 0.16
`utils/bit_packing.py`.
"""

from __future__ import annotations

import functools

import mlx.core as mx

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.packed_format import PackedSource, Presented
from edgelm_converters.sources.packings.uniform.affine_weight import AffineWeight, StoredGrid, grid_of
from edgelm_converters.sources.packings.uniform.describe import describe
from edgelm_converters.sources.packings.uniform.module_parts import ModuleParts, is_transposed
from edgelm_converters.sources.packings.uniform.streams import unpacked_stream

VERSIONS = ("gemm", "gemv", "gemv_fast")
GEMV_BITS = 4


class AWQ:
    """Published by AutoAWQ, GPTQModel and AMD Quark's export for it."""

    name = "AWQ"

    def recognise(self, source: PackedSource) -> bool:
        """Tell from settings and names of tensors whether the checkpoint is in this format."""
        return source.method == "awq" and bool(source.of_modules("qweight"))

    def present(self, source: PackedSource, result: Presented) -> None:
        """Put every module of the format into `result`; see `PackedFormat`."""
        version = str(source.settings.get("version") or source.settings.get("format") or "gemm").lower()
        if version not in VERSIONS:
            raise UnsupportedError(
                f"{source.where} is packed as AWQ of version {version:.40}, expected {', '.join(VERSIONS)}",
                hint="look for a release of the same model in AutoAWQ's gemm layout, in bfloat16 or as GGUF",
            )
        present = {"gemm": present_gemm, "gemv": _present_gemv, "gemv_fast": _present_fast}[version]
        for path, parts in source.of_modules("qweight").items():
            present(ModuleParts(source, path, parts), result)
        describe(self.name, result)


def present_gemm(parts: ModuleParts, result: Presented) -> None:
    """Put one module of the gemm layout into `result`."""
    scales = parts.floats("scales", dimensions=2)
    groups, rows = scales.shape
    qweight = parts.words("qweight", dimensions=2)
    columns, words = qweight.shape
    qzeros = parts.words("qzeros", dimensions=2) if "qzeros" in parts else None
    if words * 32 % rows or rows % 8:
        raise parts.refuse(f"have codes of {list(qweight.shape)} for scales of {list(scales.shape)}")
    bits = parts.checked_bits(words * 32 // rows)
    if qzeros is not None and qzeros.shape != (groups, words):
        raise parts.refuse(f"have zero points of {list(qzeros.shape)}, expected {[groups, words]}")
    AffineWeight(
        rows,
        columns,
        bits,
        f"AWQ {bits}-bit",
        scales.dtype,
        functools.partial(_gemm_codes, qweight, bits),
        functools.partial(_gemm_grid, scales, qzeros, bits),
        parts.group_size(columns, groups),
    ).present(parts.path, result, is_transposed=is_transposed(parts.source, parts.path))
    result.used |= parts.names("qweight", "qzeros", "scales")


def in_order(codes: mx.array) -> mx.array:
    """Undo AWQ's order within eight neighbours of the last axis."""
    # 0, 4, 1, 5, 2, 6, 3, 7: two rows of four, read by columns.
    return codes.reshape(*codes.shape[:-1], -1, 2, 4).swapaxes(-1, -2).reshape(codes.shape)


def _gemm_codes(qweight: LazyTensor, bits: int, start: int, stop: int) -> mx.array:
    # Whole blocks of 32 outputs, which end at the edge of a word whatever the width.
    first, last = start // 32 * 32, min(-(-stop // 32) * 32, qweight.shape[1] * 32 // bits)
    words = mx.contiguous(qweight.read()[:, first * bits // 32 : last * bits // 32])
    codes = in_order(unpacked_stream(words, bits))[:, start - first : stop - first]
    return mx.contiguous(codes.T)


def _gemm_grid(scales: LazyTensor, qzeros: LazyTensor | None, bits: int) -> StoredGrid:
    zeros = in_order(unpacked_stream(qzeros.read(), bits)).T if qzeros else 1 << (bits - 1)
    return grid_of(scales.read().T, zeros)


def _groups(parts: ModuleParts, columns: int, padded: int) -> tuple[int, int]:
    """(groups, group size) where scales are padded to `padded` of them: the settings must say it."""
    said = parts.source.settings.get("group_size", parts.source.settings.get("q_group_size"))
    size = columns if said in (-1, None) else said
    if isinstance(size, bool) or not isinstance(size, int) or size < 1 or columns % size:
        raise parts.refuse(f"have {columns} inputs, which groups of {said!r:.40} do not divide")
    if columns // size > padded:
        raise parts.refuse(f"have {padded} groups of scales, expected {columns // size}")
    return columns // size, size


def _present_gemv(parts: ModuleParts, result: Presented) -> None:
    qweight, scales = parts.words("qweight", dimensions=2), parts.floats("scales", dimensions=2)
    rows, columns = qweight.shape[0], qweight.shape[1] * 8
    qzeros = parts.words("qzeros", dimensions=2) if "qzeros" in parts else None
    is_fitting = qzeros is None or (qzeros.shape[0] == rows and qzeros.shape[1] * 8 == scales.shape[1])
    if scales.shape[0] != rows or not is_fitting:
        raise parts.refuse(f"have codes of {list(qweight.shape)} for scales of {list(scales.shape)}")
    groups, size = _groups(parts, columns, scales.shape[1])

    def codes(start: int, stop: int) -> mx.array:
        return unpacked_stream(qweight.read()[start:stop], GEMV_BITS)

    def grid() -> StoredGrid:
        zeros = unpacked_stream(qzeros.read(), GEMV_BITS)[:, :groups] if qzeros else 8
        return grid_of(scales.read()[:, :groups], zeros)

    AffineWeight(
        rows,
        columns,
        GEMV_BITS,
        "AWQ 4-bit",
        scales.dtype,
        codes,
        grid,
        size,
        packed=lambda: qweight.read().view(mx.uint32),
    ).present(parts.path, result, is_transposed=is_transposed(parts.source, parts.path))
    result.used |= parts.names("qweight", "qzeros", "scales")


def _present_fast(parts: ModuleParts, result: Presented) -> None:
    qweight = parts.take("qweight", (mx.int16, mx.uint16), 2)
    scales, biases = parts.floats("scales", dimensions=2), parts.floats("qzeros", dimensions=2)
    rows, columns = qweight.shape[0] * 4, qweight.shape[1]
    if scales.shape[1] != rows or biases.shape != scales.shape or columns % 64:
        raise parts.refuse(f"have codes of {list(qweight.shape)} for scales of {list(scales.shape)}")
    groups, size = _groups(parts, columns, scales.shape[0])

    def grid() -> StoredGrid:
        scale, bias = (part.read()[:groups].T.astype(mx.float32) for part in (scales, biases))
        return StoredGrid(scale, bias)

    AffineWeight(
        rows,
        columns,
        GEMV_BITS,
        "AWQ 4-bit",
        scales.dtype,
        functools.partial(_fast_codes, qweight),
        grid,
        size,
    ).present(parts.path, result, is_transposed=is_transposed(parts.source, parts.path))
    result.used |= parts.names("qweight", "qzeros", "scales")


def _fast_codes(qweight: LazyTensor, start: int, stop: int) -> mx.array:
    """Undo `pack_intweight` of AutoAWQ's `gemv_fast.py`, step by step from its end; columns in blocks of 64, rows in fours."""
    first, last = start // 4, -(-stop // 4)
    words = qweight.read()[first:last].view(mx.uint16)
    count, columns = words.shape
    nibbles = (words[..., None] >> mx.array([0, 4, 8, 12], mx.uint16)) & 15
    # [N / 4, C / 64, 64, 4] was [N / 4, C / 64, 4, 64] before it was reshaped: the same bytes, in another shape.
    rows = nibbles.reshape(count, columns // 64, 4, 64).swapaxes(1, 2).reshape(count * 4, columns // 32, 32)
    # 0, 2, 4, 6, 1, 3, 5, 7 within eights, then pairs of four eights.
    rows = rows.reshape(*rows.shape[:2], 4, 2, 4).swapaxes(-1, -2).reshape(rows.shape)
    rows = rows.reshape(*rows.shape[:2], 4, 4, 2).swapaxes(2, 3).reshape(count * 4, columns)
    return rows[start - first * 4 : stop - first * 4].astype(mx.uint8)
