"""A safetensors file written one tensor at a time, so that memory holds one tensor.

The header needs every name, shape and type beforehand; the data follows in the header's order. Every
byte is hashed as it is written: the hash is what adapters are bound to. Format:
https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import mlx.core as mx

from edgelm.atomic import disk_errors

Layout = Mapping[str, tuple[tuple[int, ...], mx.Dtype]]
"""Tensor name → (shape, dtype), in the order of the file."""

DTYPE_NAMES = {
    mx.float32: "F32", mx.float16: "F16", mx.bfloat16: "BF16", mx.uint32: "U32", mx.uint8: "U8",
    mx.int32: "I32", mx.int64: "I64", mx.int8: "I8", mx.int16: "I16", mx.uint16: "U16",
    mx.uint64: "U64", mx.bool_: "BOOL",
}  # fmt: skip


def size_bytes(shape: tuple[int, ...], dtype: mx.Dtype) -> int:
    """Count the bytes that a tensor takes in the file."""
    return math.prod(shape) * dtype.size


class ShardWriter:
    """Writes one safetensors file; a context manager that fsyncs on the way out.

    Raises:
        OutputError: the disk is full or not writable.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self._order = list(layout)
        self._written = 0
        self._hash = hashlib.sha256()
        header, self._layout = _header(layout), dict(layout)
        with disk_errors(path):
            self._file = path.open("wb", buffering=0)
        self._put(len(header).to_bytes(8, "little") + header)

    def write(self, name: str, array: mx.array) -> None:
        """Write the next tensor; it must be the next of the layout, of the announced shape and dtype."""
        expected = self._order[self._written]
        shape, dtype = self._layout[expected]
        if (name, tuple(array.shape), array.dtype) != (expected, shape, dtype):
            raise AssertionError(
                f"{name} {array.shape} {array.dtype} written, {expected} {shape} {dtype} announced"
            )
        if array.size:
            # bfloat16 has no buffer protocol: hand over the bytes.
            self._put(memoryview(mx.contiguous(array).reshape(-1).view(mx.uint8)))  # type: ignore[arg-type]
        self._written += 1

    @property
    def sha256(self) -> str:
        """The hash of what was written so far, in hexadecimal."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Flush to the disk itself."""
        with disk_errors(self.path):
            os.fsync(self._file.fileno())
            self._file.close()

    def _put(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        with disk_errors(self.path):
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


def _header(layout: Layout) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "mlx"}}
    offset = 0
    for name, (shape, dtype) in layout.items():
        end = offset + size_bytes(shape, dtype)
        entries[name] = {"dtype": DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)
