"""bitsandbytes' NF4 and FP4: codes of 4 bits that stand for values of a table, with one scale for each block of values
in a row.

`weight` holds two codes a byte, the first in the high half, of the weight read as one long row; it may be stored as
another type (`bnb_4bit_quant_storage`), whose bytes count. `weight.absmax` has the scale of every block. Nested
("double quantized"), it holds bytes: absmax = nested_quant_map[byte] * nested_absmax[block] + nested_offset.
`weight.quant_state.bitsandbytes__nf4` is JSON in bytes: shape, dtype, block sizes and offset. The tables are
constants, as they are in bitsandbytes' kernels; the stored `quant_map` repeats them.
Source: bitsandbytes 0.50 `functional.py` (`QuantState`, `get_4bit_type`, `dequantize_4bit`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm_converters.sources.packings.packed_format import SCALE_DTYPES, PackedSource, Presented
from edgelm_converters.sources.packings.uniform.describe import describe
from edgelm_converters.sources.packings.uniform.groups import requantized_settings
from edgelm_converters.sources.packings.uniform.module_parts import INTEGERS, ModuleParts, is_transposed
from edgelm_converters.sources.packings.uniform.streams import in_slices

TABLES = {
    "nf4": (
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
        -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ),
    "fp4": tuple(sign * value / 12 for sign in (1, -1) for value in (0, 0.0625, 8, 12, 4, 6, 2, 3)),
}  # fmt: skip
"""What the codes 0 to 15 stand for, times the block's scale."""
BLOCKS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
MAX_STATE_BYTES = 1 << 16
STATE = "quant_state.bitsandbytes__"
PARTS = ("absmax", "quant_map", "nested_absmax", "nested_quant_map", f"{STATE}nf4", f"{STATE}fp4")


class BitsAndBytes4Bit:
    """Saved by transformers with `load_in_4bit`."""

    name = "bitsandbytes 4-bit"

    def recognise(self, source: PackedSource) -> bool:
        """Tell from settings and names of tensors whether the checkpoint is in this format."""
        return source.method in ("bitsandbytes", "") and any(STATE in name for name in source.tensors)

    def present(self, source: PackedSource, result: Presented) -> None:
        """Put every module of the format into `result`; see `PackedFormat`."""
        for name in source.tensors:
            path, found, kind = name.rpartition(f".weight.{STATE}")
            if found:
                _present_module(_parts(source, path), kind, result)
        describe(self.name, result)


def _parts(source: PackedSource, path: str) -> ModuleParts:
    """The statistics of a weight by their last names, and the weight itself as "weight"."""
    found = {part: source.tensors.get(f"{path}.weight.{part}") for part in PARTS}
    tensors = {"weight": source.tensors.get(f"{path}.weight"), **found}
    return ModuleParts(source, path, {name: tensor for name, tensor in tensors.items() if tensor is not None})


@dataclass(frozen=True)
class _State:
    """What the JSON of a weight says, checked against what is stored."""

    shape: tuple[int, int]
    block: int
    nested_block: int
    nested_offset: float


def _present_module(parts: ModuleParts, kind: str, result: Presented) -> None:
    if kind not in TABLES:
        raise parts.refuse(f"are of type {kind!r:.40}, expected nf4 or fp4")
    weight = parts.take("weight", (*INTEGERS, *SCALE_DTYPES), None)
    state = _state(parts, kind, weight.nbytes)
    rows, columns = state.shape
    blocks = -(-rows * columns // state.block)
    scales = _scales(parts, state, blocks)

    def values() -> mx.array:
        table, absmax = mx.array(TABLES[kind]), scales()
        if not mx.isfinite(absmax).all().item():
            raise parts.refuse("have scales that are not finite")

        def make(start: int, stop: int) -> mx.array:
            first = start * columns // 2
            stored = weight.read().reshape(-1).view(mx.uint8)[first : -(-stop * columns // 2)]
            codes = mx.stack([stored >> 4, stored & 15], axis=-1).reshape(-1)
            codes = codes[start * columns - 2 * first :][: (stop - start) * columns]
            block = mx.arange(start * columns, stop * columns) // state.block
            return (table[codes] * absmax[block]).reshape(stop - start, columns)

        return in_slices(rows, columns, make)

    if is_transposed(parts.source, parts.path):
        shape, read = (columns, rows), lambda: mx.contiguous(values().T)
    else:
        shape, read = (rows, columns), values
    result.unpack(f"{parts.path}.weight", shape, read, kind.upper(), requantized_settings(4, columns))
    result.used |= {
        f"{parts.path}.weight",
        *(f"{parts.path}.weight.{part}" for part in PARTS if part in parts),
    }


def _scales(parts: ModuleParts, state: _State, blocks: int) -> Callable[[], mx.array]:
    """Check the scales, and return a function that reads them, in float32 [blocks]."""
    if "nested_absmax" not in parts:
        plain = parts.floats("absmax")
        if math.prod(plain.shape) != blocks:
            raise parts.refuse(f"have {math.prod(plain.shape)} scales, expected {blocks}")
        return lambda: plain.read().reshape(-1).astype(mx.float32)
    codes = parts.take("absmax", (mx.uint8,), None)
    outer, table = parts.floats("nested_absmax"), parts.floats("nested_quant_map")
    wanted = (blocks, -(-blocks // state.nested_block), 256)
    found = tuple(math.prod(part.shape) for part in (codes, outer, table))
    if found != wanted:
        raise parts.refuse(f"have {found} scales, nested scales and values of scales, expected {wanted}")

    def read() -> mx.array:
        of_block = mx.arange(blocks) // state.nested_block
        scales = outer.read().reshape(-1).astype(mx.float32)[of_block]
        return (
            table.read().reshape(-1).astype(mx.float32)[codes.read().reshape(-1)] * scales
            + state.nested_offset
        )

    return read


def _state(parts: ModuleParts, kind: str, stored_bytes: int) -> _State:
    """Read the JSON.

    Raises:
        FormatError: it is none, or says what the tensors do not bear out.
    """
    stored = parts.take(f"{STATE}{kind}", (mx.uint8,), 1)
    if stored.nbytes > MAX_STATE_BYTES:
        raise parts.refuse(f"have a quant_state of {stored.nbytes} bytes")
    try:
        said = json.loads(bytes(parts.integers(f"{STATE}{kind}")))
    except (ValueError, RecursionError) as error:
        raise parts.refuse("have a quant_state that is no JSON") from error
    said = said if isinstance(said, dict) else {}
    shape = said.get("shape")
    if not isinstance(shape, list) or len(shape) != 2 or not all(_is_count(size) for size in shape):
        raise parts.refuse(f"have a quant_state with the shape {shape!r:.60}, expected two sizes")
    if -(-shape[0] * shape[1] // 2) != stored_bytes:
        raise parts.refuse(
            f"have {stored_bytes} bytes of codes for the shape {shape!r:.60} of their quant_state"
        )
    block, nested = said.get("blocksize"), said.get("nested_blocksize", 256)
    offset = said.get("nested_offset", 0.0)
    if block not in BLOCKS or not _is_count(nested) or not _is_number(offset):
        raise parts.refuse(
            f"have a quant_state with blocks of {block!r:.40}, nested ones of {nested!r:.40} and the offset {offset!r:.40}"
        )
    return _State((shape[0], shape[1]), block, nested, float(offset))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 40


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30
