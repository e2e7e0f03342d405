"""A safetensors file written one tensor at a time, so that memory holds one tensor.

The header needs every name, shape and type beforehand; the data follows in the header's order, tensors whole or in
consecutive slices of rows. Every byte is hashed as it is written: the hash is what adapters are bound to. A thread of its own
hashes and writes one piece while the next is computed. Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import mlx.core as mx

from edgelm.atomic import disk_errors

Layout = Mapping[str, tuple[tuple[int, ...], mx.Dtype]]
"""Tensor name → (shape, dtype), in the order of the file."""

SYNC_BYTES = 128 << 20
"""What is written between two waits for the disk."""

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
        self._written = self._rows = 0
        self._hash = hashlib.sha256()
        header, self._layout = _header(layout), dict(layout)
        with disk_errors(path):
            self._file = path.open("wb", buffering=0)
        self._unsynced = 0
        self._thread = ThreadPoolExecutor(1, "shard writer")
        self._writing: Future[None] | None = None
        self._put(len(header).to_bytes(8, "little") + header)

    def write(self, name: str, array: mx.array) -> None:
        """Write the next tensor, or its next rows; it must be the next of the layout, of the announced shape and dtype."""
        expected = self._order[self._written]
        shape, dtype = self._layout[expected]
        rows = self._rows + (array.shape[0] if array.ndim else 1)
        fits = array.shape == shape or (shape and array.shape[1:] == shape[1:] and rows <= shape[0])
        if name != expected or array.dtype != dtype or not fits:
            raise AssertionError(
                f"{name} {array.shape} {array.dtype} written, {expected} {shape} {dtype} announced"
            )
        if array.size:
            self._put(_bytes_of(array))
        self._rows = rows
        if not shape or rows == shape[0]:
            self._written, self._rows = self._written + 1, 0

    @property
    def sha256(self) -> str:
        """The hash of what was written so far, in hexadecimal."""
        self._wait()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Flush to the disk itself."""
        try:
            self._wait()
        finally:
            self._thread.shutdown()
        with disk_errors(self.path):
            os.fsync(self._file.fileno())
            self._file.close()

    def _put(self, data: bytes | memoryview) -> None:
        """Have `data` written once what came before it is: memory holds one piece that is being written."""
        self._wait()
        self._writing = self._thread.submit(self._append, data)

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _append(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        view = memoryview(data)
        self._unsynced += len(view)
        with disk_errors(self.path):
            while view:
                view = view[self._file.write(view) :]
            if self._unsynced > SYNC_BYTES:
                # All at the end would be one long wait in which nothing is computed.
                os.fsync(self._file.fileno())
                self._unsynced = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._thread.shutdown()
            self._file.close()


def _bytes_of(array: mx.array) -> memoryview:
    """Hand over the bytes of `array`; bfloat16 has no buffer protocol, and is first seen as them."""
    if array.dtype != mx.bfloat16:
        view = memoryview(array)  # type: ignore[arg-type]
        if view.c_contiguous:
            return view.cast("B")
    return memoryview(mx.contiguous(array).reshape(-1).view(mx.uint8))  # type: ignore[arg-type]


def _header(layout: Layout) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "mlx"}}
    offset = 0
    for name, (shape, dtype) in layout.items():
        end = offset + size_bytes(shape, dtype)
        entries[name] = {"dtype": DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)
