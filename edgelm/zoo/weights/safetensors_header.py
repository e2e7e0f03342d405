"""The header of a safetensors file, read and checked before MLX sees the file.

MLX trusts a header (a lying one ends in a segmentation fault or garbage), so every file that edgelm
loads goes through here first. Reads the header only; knows nothing about models.
Format: https://huggingface.co/docs/safetensors (8-byte little-endian length, JSON, data).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError

MAX_HEADER_BYTES = 100_000_000
"""The limit of the reference implementation."""

MAX_LENGTH = 2**31 - 1
"""MLX counts the items of a dimension in 32 bits."""

BITS_OF = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies: `begin` and `end` are byte offsets in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size_bytes(self) -> int:
        """Return the bytes that the tensor takes in its file."""
        return self.end - self.begin


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Read the tensors that the safetensors file at `path` announces, by name.

    Raises:
        FormatError: the file is truncated, or its header is not valid or does not match the file.
    """
    try:
        return _read_header(path)
    except OSError as error:
        raise FormatError(
            f"{path} cannot be read as a safetensors file: {error.strerror or error}"
        ) from error


def _read_header(path: Path) -> dict[str, TensorInfo]:
    size_bytes = path.stat().st_size
    text = _read_text(path, size_bytes)
    header = _parse(text, path)
    header.pop("__metadata__", None)
    return _check_entries(header, 8 + len(text), size_bytes, path)


def read_metadata(path: Path) -> dict[str, str]:
    """Read the strings that the file at `path` says of itself.

    Raises:
        FormatError: its header is not valid.
    """
    said = _parse(_read_text(path, path.stat().st_size), path).get("__metadata__", {})
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise FormatError(f"the metadata of {path} is not an object of strings")
    return said


def _read_text(path: Path, size_bytes: int) -> bytes:
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise FormatError(f"{path} is {size_bytes} bytes long, too short for a safetensors header")
        length = int.from_bytes(prefix, "little")
        if length > min(MAX_HEADER_BYTES, size_bytes - 8):
            raise FormatError(
                f"{path} announces a header of {length} bytes, but the file holds {size_bytes - 8} after it begins",
                hint="the download may be cut short, or this is not a safetensors file",
            )
        return file.read(length)


def _parse(text: bytes, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the safetensors header of {path} is not valid JSON: {error}") from error
    if not isinstance(header, dict):
        raise FormatError(
            f"the safetensors header of {path} is a {type(header).__name__}, expected an object"
        )
    return header


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _check_entries(
    header: dict[str, Any], data_start: int, size_bytes: int, path: Path
) -> dict[str, TensorInfo]:
    tensors = {name: _check_entry(name, entry, data_start, path) for name, entry in header.items()}
    covered = data_start
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin < covered:
            raise FormatError(f"tensor {name!r} overlaps another one in {path}")
        covered = info.end
    if covered > size_bytes:
        raise FormatError(
            f"{path} is truncated: {covered - size_bytes} of {covered} bytes are missing",
            hint="download the file again",
        )
    return tensors


def _check_entry(name: str, entry: Any, data_start: int, path: Path) -> TensorInfo:
    where = f"tensor {name!r} in {path}"
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise FormatError(f"{where} lacks dtype, shape or data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS_OF:
        raise FormatError(f"{where} has dtype {dtype!r}, expected one of {', '.join(BITS_OF)}")
    if not _are_lengths(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise FormatError(f"{where} has shape {shape!r} and data_offsets {offsets!r}, expected counts")
    begin, end = offsets
    wanted = math.prod(shape) * BITS_OF[dtype] // 8
    if end - begin != wanted:
        raise FormatError(f"{where} spans {end - begin} bytes, but {dtype} of shape {shape} takes {wanted}")
    return TensorInfo(dtype, tuple(shape), data_start + begin, data_start + end)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 48 for item in value)


def _are_lengths(value: Any) -> bool:
    return _are_counts(value) and len(value) <= 16 and all(item <= MAX_LENGTH for item in value)
