"""Tensors read from a safetensors file that `mx.load` refuses: one of float64, say, makes it refuse them all.

No GPU has float64 in MLX: such tensors are read as float32. The header was checked before (`safetensors_header`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from edgelm.errors import FormatError
from edgelm.zoo.weights.safetensors_header import TensorInfo, read_header

NUMPY_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "U64": "<u8", "I64": "<i8", "U32": "<u4", "I32": "<i4",
    "U16": "<u2", "I16": "<i2", "U8": "|u1", "I8": "|i1", "BOOL": "|b1", "F8_E4M3": "|u1", "F8_E5M2": "|u1",
    "F8_E8M0": "|u1", "F8_E4M3FNUZ": "|u1", "F8_E5M2FNUZ": "|u1",
}  # fmt: skip
"""Header name → how numpy reads the bytes; bfloat16 as the bits of a uint16, 8-bit floats as bytes."""

UNLOADED = ("F64", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
"""What `mx.load` refuses a file for."""


def load_safetensors(path: Path) -> dict[str, mx.array]:
    """Load all tensors of the file at `path`, unread where MLX can.

    Raises:
        FormatError: it is no safetensors file, or holds a type that MLX does not.
    """
    header = read_header(path)
    strange = next((name for name, info in header.items() if info.dtype not in NUMPY_TYPES), None)
    if strange is not None:
        raise FormatError(f"tensor {strange!r} in {path} is {header[strange].dtype}, which MLX does not hold")
    if any(info.dtype in UNLOADED for info in header.values()):
        return {name: read_array(path, info) for name, info in header.items()}
    try:
        loaded: Any = mx.load(str(path), format="safetensors")
    except (RuntimeError, ValueError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from error
    return dict(loaded)


def read_array(path: Path, info: TensorInfo) -> mx.array:
    """Read one tensor of the file at `path`; float64 as float32, 8-bit floats as bytes."""
    stored = np.fromfile(path, np.dtype(NUMPY_TYPES[info.dtype]), math.prod(info.shape), offset=info.begin)
    stored = stored.reshape(info.shape)
    if info.dtype == "F64":
        with np.errstate(over="ignore"):  # beyond float32 is infinite, as torch has it
            stored = stored.astype(np.float32)
    array = mx.array(stored)
    return array.view(mx.bfloat16) if info.dtype == "BF16" else array
