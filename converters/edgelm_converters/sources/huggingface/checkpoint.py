"""A Hugging Face directory with safetensors: one file or shards, quantized or not."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from edgelm.errors import FormatError, UnsupportedError
from edgelm.json_files import read_json
from edgelm.library.licence import licence_of
from edgelm.zoo.configs import normalise as configs
from edgelm.zoo.weights.files import stored_tensors, weight_files
from edgelm.zoo.weights.packing import with_packing
from edgelm.zoo.weights.safetensors_header import TensorInfo, read_header
from edgelm.zoo.weights.stored_array import NUMPY_TYPES, UNLOADED
from edgelm_converters.sources.checkpoint import LazyTensor, SourceCheckpoint, SourceOrigin
from edgelm_converters.sources.huggingface.tokenizer_files import write_tokenizer_files
from edgelm_converters.sources.packings.registry import unpacked_checkpoint

DTYPES = {
    "F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16, "U32": mx.uint32, "I32": mx.int32,
    "I64": mx.int64, "U8": mx.uint8, "I8": mx.int8, "U16": mx.uint16, "I16": mx.int16, "U64": mx.uint64,
    "BOOL": mx.bool_, "F8_E4M3FNUZ": mx.uint8, "F8_E5M2FNUZ": mx.uint8,
    "F8_E4M3": mx.uint8, "F8_E5M2": mx.uint8, "F8_E8M0": mx.uint8, "F64": mx.float32,
}  # fmt: skip
"""Header name → what is read (8-bit floats come as bytes); float64, which no GPU has in MLX, as float32."""

KEPT_BYTES = 32 << 20
"""The largest buffer that is kept for the next read."""


def open_huggingface(directory: Path) -> SourceCheckpoint:
    """Open the checkpoint in `directory`; only headers are read.

    Raises:
        NotFoundError, FormatError: files are missing or broken.
        UnsupportedError: packed in a way that is not read.
    """
    config = with_packing(configs.read_config(directory), directory)
    generation = directory / "generation_config.json"
    stored = stored_tensors(directory)
    shards = {path: _Shard(path) for path in {tensor.path for tensor in stored.values()}}
    tensors = {name: _lazy(shards[tensor.path], name, tensor.info) for name, tensor in stored.items()}
    files = weight_files(directory)
    checkpoint = SourceCheckpoint(
        origin=SourceOrigin(str(directory), "huggingface", tuple(files), licence=licence_of(directory)),
        config=config,
        tensors=tensors,
        write_tokenizer=functools.partial(write_tokenizer_files, directory),
        quantization=_quantization(config, tensors),
        generation_config=read_json(generation) if generation.exists() else None,
    )
    return unpacked_checkpoint(checkpoint, directory)


class _Shard:
    """Hands out unevaluated arrays over one file, parsing its header once per pass over the names, or rows that it reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_refused = any(info.dtype in UNLOADED for info in read_header(path).values())
        """By `mx.load`, as a whole, for one tensor in it."""
        self._arrays: dict[str, mx.array] = {}
        self._buffer = np.empty(0, np.uint8)

    def take(self, name: str) -> mx.array:
        if name not in self._arrays:
            self._arrays = mx.load(str(self.path), format="safetensors")  # type: ignore[assignment]
        return self._arrays.pop(name)

    def read(self, info: TensorInfo) -> mx.array:
        return self._read(info, info.shape, info.begin)

    def read_rows(self, info: TensorInfo, start: int, stop: int) -> mx.array:
        """Rows of a tensor; `mx.load` has no part of one."""
        row_bytes = info.size_bytes // info.shape[0]
        return self._read(info, (stop - start, *info.shape[1:]), info.begin + start * row_bytes)

    def _read(self, info: TensorInfo, shape: tuple[int, ...], begin: int) -> mx.array:
        """Read into one buffer for all slices: the first touch of fresh memory takes longer than reading does."""
        kind = np.dtype(NUMPY_TYPES[info.dtype])
        size = math.prod(shape) * kind.itemsize
        if self._buffer.size < size <= KEPT_BYTES:
            self._buffer = np.empty(size, np.uint8)
        raw = self._buffer[:size] if size <= KEPT_BYTES else np.empty(size, np.uint8)
        self._fill(raw.data, begin)
        stored = raw.view(kind).reshape(shape)
        if info.dtype == "F64":
            stored = stored.astype(np.float32)
        array = mx.array(stored)
        return array.view(mx.bfloat16) if info.dtype == "BF16" else array

    def _fill(self, view: memoryview, begin: int) -> None:
        with self.path.open("rb", buffering=0) as file:
            file.seek(begin)
            while view:
                count = file.readinto(view)
                if not count:
                    raise FormatError(f"{self.path} has become shorter while it was read")
                view = view[count:]


def _lazy(shard: _Shard, name: str, info: TensorInfo) -> LazyTensor:
    if info.dtype not in DTYPES:
        raise UnsupportedError(f"tensor {name!r} in {shard.path} is {info.dtype}, which MLX does not hold")
    rows = functools.partial(shard.read_rows, info) if info.shape and info.shape[0] else None
    if shard.is_refused:
        read = functools.partial(shard.read, info)
        return LazyTensor(info.shape, DTYPES[info.dtype], read, info.dtype, read_rows=rows)
    read = functools.partial(shard.take, name)
    return LazyTensor(info.shape, DTYPES[info.dtype], read, info.dtype, is_lazy_array=True, read_rows=rows)


def _quantization(config: dict[str, Any], tensors: dict[str, LazyTensor]) -> dict[str, dict[str, Any]]:
    """Settings of the modules that are already packed for MLX, by path."""
    settings = config.get("quantization")
    if not isinstance(settings, dict):
        return {}
    default = {"mode": "affine", **{k: v for k, v in settings.items() if not isinstance(v, dict | bool)}}
    paths = [name.removesuffix(".scales") for name in tensors if name.endswith(".scales")]
    return {
        path: {**default, **settings[path]} if isinstance(settings.get(path), dict) else default
        for path in paths
    }
