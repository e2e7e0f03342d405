"""The GGUF format: a header of key-values and tensors' places, then the tensors, written a slice at a time.

Knows types of values, not what they mean. Source: ggml/docs/gguf.md; `gguf/gguf_writer.py` and llama.cpp's gguf-split for
files in parts.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgelm.atomic import disk_errors
from edgelm_converters.sources.gguf.types.kinds import Kind, block_bytes, values_per_block

Bytes = npt.NDArray[np.uint8]
VERSION = 3
ALIGNMENT = 32
UINT16, INT32, UINT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 2, 5, 4, 6, 7, 8, 9, 10


@dataclass(frozen=True, slots=True)
class Numbered:
    """A number of another type than its Python type would get."""

    kind: int
    value: int


@dataclass(frozen=True, slots=True)
class StoredLayout:
    """A tensor to be written: `shape` is rows first, as numpy and MLX have it."""

    name: str
    shape: tuple[int, ...]
    kind: Kind

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one row."""
        return self.shape[-1] // values_per_block(self.kind) * block_bytes(self.kind)

    @property
    def size_bytes(self) -> int:
        """Return the bytes of the tensor."""
        return math.prod(self.shape[:-1]) * self.row_bytes


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a model: its path, all that its header says, and its tensors in order."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: tuple[StoredLayout, ...]

    @property
    def header(self) -> bytes:
        """Return the header, padded to where the tensors begin."""
        out = bytearray(b"GGUF")
        out += struct.pack("<IQQ", VERSION, len(self.tensors), len(self.metadata))
        for key, value in self.metadata.items():
            out += _text(key) + _typed(value)
        offset = 0
        for tensor in self.tensors:
            shape = tensor.shape[::-1]
            out += _text(tensor.name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            out += struct.pack("<IQ", tensor.kind, offset)
            offset += _padded(tensor.size_bytes)
        out += bytes(_padded(len(out)) - len(out))
        return bytes(out)

    @property
    def size_bytes(self) -> int:
        """Return the size of the file."""
        return len(self.header) + sum(_padded(tensor.size_bytes) for tensor in self.tensors)


def parts_of(
    path: Path, metadata: Mapping[str, Any], tensors: Sequence[StoredLayout], limit_bytes: int | None
) -> list[Part]:
    """Lay a model out in one file at `path`, or in files of at most `limit_bytes` of tensors beside it.

    All key-values are in the first part, as llama.cpp's gguf-split has it; the others say which they are.
    """
    groups: list[list[StoredLayout]] = [[]]
    held = 0
    for tensor in tensors:
        if limit_bytes is not None and groups[-1] and held + tensor.size_bytes > limit_bytes:
            groups.append([])
            held = 0
        groups[-1].append(tensor)
        held += _padded(tensor.size_bytes)
    if len(groups) == 1:
        return [Part(path, metadata, tuple(tensors))]
    count = len(groups)
    parts = []
    for index, group in enumerate(groups):
        split = {
            "split.no": Numbered(UINT16, index),
            "split.count": Numbered(UINT16, count),
            "split.tensors.count": Numbered(INT32, len(tensors)),
        }
        named = path.with_name(f"{path.stem}-{index + 1:05}-of-{count:05}{path.suffix}")
        parts.append(Part(named, {**metadata, **split} if index == 0 else split, tuple(group)))
    return parts


def write_part(part: Part, path: Path, data: Iterator[Bytes]) -> None:
    """Write one file to `path`.

    Args:
        data: bytes of consecutive rows of its tensors, one tensor after another, no slice of two of them.

    Raises:
        OutputError: the disk refuses.
        ValueError: the data is not of the size that the header says.
    """
    with disk_errors(part.path), path.open("wb") as file:
        file.write(part.header)
        for tensor in part.tensors:
            left = tensor.size_bytes
            while left:
                left -= _put(file, next(data))
                if left < 0:
                    raise ValueError(f"{tensor.name} has {-left} bytes more than {tensor.size_bytes}")
            file.write(bytes(_padded(tensor.size_bytes) - tensor.size_bytes))


def _put(file: BinaryIO, piece: Bytes) -> int:
    file.write(np.ascontiguousarray(piece).data)
    return int(piece.nbytes)


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _typed(value: Any) -> bytes:
    """A value behind its type; integers are unsigned, those of lists signed, as llama.cpp's converter writes them."""
    if isinstance(value, Numbered):
        return struct.pack(f"<I{'H' if value.kind == UINT16 else 'i'}", value.kind, value.value)
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _text(value)
    return struct.pack("<I", ARRAY) + _array(list(value))


def _array(values: Sequence[Any]) -> bytes:
    first: Any = values[0] if values else ""
    count = len(values)
    if isinstance(first, bool):
        return struct.pack(f"<IQ{count}?", BOOL, count, *values)
    if isinstance(first, int):
        return struct.pack(f"<IQ{count}i", INT32, count, *values)
    if isinstance(first, float):
        return struct.pack(f"<IQ{count}f", FLOAT32, count, *values)
    return struct.pack("<IQ", STRING, count) + b"".join(_texts(values))


def _texts(values: Iterable[str]) -> Iterator[bytes]:
    return (_text(value) for value in values)
