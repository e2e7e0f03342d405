"""The header of a GGUF file: metadata as plain Python values, and where each tensor lies.

Reads no tensor data. Time and memory are bounded by the size of a real header, whatever the file says.
Does not know what any key or tensor means.
"""

from __future__ import annotations

import itertools
import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf.constants import GGUF_DEFAULT_ALIGNMENT, GGUF_MAGIC

from edgelm.errors import FormatError, NotFoundError, UnsupportedError
from edgelm_converters.sources.gguf.cursor import Cursor, truncated
from edgelm_converters.sources.gguf.types.kinds import Kind, block_bytes, values_per_block

VERSIONS = (2, 3)
MAX_TENSORS = 100_000
MAX_KEYS = 10_000
MAX_DIMENSIONS = 4
MAX_LENGTH = 2**31 - 1
"""MLX counts the items of a dimension in 32 bits."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies: `shape` is rows first, as numpy and MLX have it (GGUF writes the width first)."""

    name: str
    shape: tuple[int, ...]
    kind: Kind
    path: Path
    begin: int
    """Byte offset in the file."""

    @property
    def block_bytes(self) -> int:
        """Size of one block of the type in the file."""
        return block_bytes(self.kind)

    @property
    def row_bytes(self) -> int:
        """Size of one row (the last dimension) in the file."""
        return self.shape[-1] // values_per_block(self.kind) * self.block_bytes

    @property
    def rows(self) -> int:
        """Rows of all leading dimensions together."""
        return math.prod(self.shape[:-1])

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor in the file."""
        return self.rows * self.row_bytes


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """What one file says: metadata by key and tensors by name, both in the file's order."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]


def read_gguf(path: Path) -> GGUFHeader:
    """Read the header of the GGUF file at `path`, checked against the file.

    Raises:
        NotFoundError: there is no such file.
        FormatError: it is truncated, or not a GGUF file, or it contradicts itself.
        UnsupportedError: it is of another version or byte order.
    """
    try:
        with path.open("rb") as file:
            size_bytes = path.stat().st_size
            if size_bytes < 24:
                raise truncated(path, "the GGUF header", 0, 24, size_bytes)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
                return _parse(Cursor(buffer, path), size_bytes)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist") from error
    except OSError as error:
        raise FormatError(f"{path} cannot be read as a GGUF file: {error}") from error


def _parse(cursor: Cursor, size_bytes: int) -> GGUFHeader:
    path = cursor.path
    _check_version(cursor)
    tensor_count = _bounded(cursor, "tensor count", MAX_TENSORS)
    key_count = _bounded(cursor, "metadata count", MAX_KEYS)
    metadata: dict[str, Any] = {}
    for index in range(key_count):
        key = cursor.text(f"metadata key {index}")
        if key in metadata:
            raise FormatError(f"{path} has the metadata key {key!r} twice")
        metadata[key] = cursor.value(cursor.number("<I", f"the type of {key!r}"), repr(key))
    entries = [_entry(cursor, index) for index in range(tensor_count)]
    alignment = _alignment(metadata, path)
    base = -(-cursor.position // alignment) * alignment
    tensors: dict[str, StoredTensor] = {}
    for name, shape, kind, offset in entries:
        if name in tensors:
            raise FormatError(f"{path} has the tensor {name!r} twice")
        if offset % alignment:
            raise FormatError(
                f"{path}: tensor {name!r} begins at {offset}, expected a multiple of {alignment}"
            )
        tensors[name] = StoredTensor(name, shape, kind, path, base + offset)
    _check_extents(list(tensors.values()), size_bytes)
    return GGUFHeader(path, metadata, tensors)


def _check_version(cursor: Cursor) -> None:
    magic, version = cursor.number("<I", "the magic"), cursor.number("<I", "the version")
    if magic != GGUF_MAGIC:
        raise FormatError(f"{cursor.path} begins with {magic.to_bytes(4, 'little')!r}, expected b'GGUF'")
    if version and version & 0xFFFF == 0:
        raise UnsupportedError(f"{cursor.path} is a big-endian GGUF file, expected a little-endian one")
    if version not in VERSIONS:
        raise UnsupportedError(f"{cursor.path} is of GGUF version {version}, expected 2 or 3")


def _bounded(cursor: Cursor, what: str, most: int) -> int:
    count = cursor.number("<Q", f"the {what}")
    if count > most:
        raise FormatError(f"{cursor.path} has a {what} of {count}, expected at most {most}")
    return count


def _alignment(metadata: dict[str, Any], path: Path) -> int:
    alignment = metadata.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment not in (1 << bit for bit in range(3, 21)):
        raise FormatError(
            f"{path} has general.alignment {alignment!r}, expected a power of two from 8 to {1 << 20}"
        )
    return alignment


def _entry(cursor: Cursor, index: int) -> tuple[str, tuple[int, ...], Kind, int]:
    name = cursor.text(f"the name of tensor {index}")
    what = f"tensor {name!r}"
    count = cursor.number("<I", f"the dimensions of {what}")
    if not 1 <= count <= MAX_DIMENSIONS:
        raise FormatError(f"{cursor.path}: {what} has {count} dimensions, expected 1 to {MAX_DIMENSIONS}")
    shape = tuple(cursor.number("<Q", f"the shape of {what}") for _ in range(count))[::-1]
    kind = _kind(cursor.number("<I", f"the type of {what}"), what, cursor.path)
    if not all(1 <= length <= MAX_LENGTH for length in shape):
        raise FormatError(f"{cursor.path}: {what} has shape {shape}, expected lengths from 1 to {MAX_LENGTH}")
    block = values_per_block(kind)
    if shape[-1] % block:
        raise FormatError(
            f"{cursor.path}: {what} is {shape[-1]} wide, expected a multiple of {block} for {kind.name}"
        )
    return name, shape, kind, cursor.number("<Q", f"the offset of {what}")


def _kind(number: int, what: str, path: Path) -> Kind:
    try:
        return Kind(number)
    except ValueError as error:
        raise FormatError(
            f"{path}: {what} has tensor type {number}, which no version of GGUF known here has"
        ) from error


def _check_extents(tensors: Sequence[StoredTensor], size_bytes: int) -> None:
    """Every tensor inside the file, none on top of another."""
    ordered = sorted(tensors, key=lambda tensor: tensor.begin)
    for tensor, following in itertools.pairwise(ordered):
        if tensor.begin + tensor.size_bytes > following.begin:
            raise FormatError(f"{tensor.path}: tensors {tensor.name!r} and {following.name!r} overlap")
    if ordered and ordered[-1].begin + ordered[-1].size_bytes > size_bytes:
        last = ordered[-1]
        raise truncated(last.path, f"tensor {last.name!r}", last.begin, last.size_bytes, size_bytes)
