"""Writing a plan: slices of rows are read, cast, quantized, written and let go.

A few slices are under way at a time, so that reading, computing and writing go on side by side. The files are laid out as
mlx-lm lays them out (shards of at most 5 GiB, an index beside them), so stock mlx-lm loads them; the tensors are the ones
it would have made.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import mlx.core as mx

from edgelm.atomic import disk_errors
from edgelm.progress import OnProgress, Progress
from edgelm.quant.matrix.formats import Packed
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.targets.mlx.shard import Layout, ShardWriter, size_bytes

MAX_SHARD_BYTES = 5 << 30
"""mlx_lm.utils.MAX_FILE_SIZE_GB."""

Quantizer = Callable[[OutputPlan, str], Iterable[Packed]]
"""(plan, module path) → the module's packed parameters by consecutive slices of rows, which may still be under way."""

SLICE_BYTES = 8 << 20
"""Source bytes of a slice of rows."""

SLICES_AHEAD = 3
"""Slices that are under way while one is written."""


def write_weights(
    plan: OutputPlan, directory: Path, on_progress: OnProgress, quantizer: Quantizer
) -> dict[str, str]:
    """Write the weight files of `plan` into `directory`; returns the SHA-256 of each by file name.

    Args:
        quantizer: makes the packed parameters of each quantized module.
    """
    shards = list(_shards(plan.layout))
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    pieces = _ahead(_pieces(plan, quantizer), SLICES_AHEAD)
    done, total, hashes = 0, plan.size_bytes, {}
    for file_name, layout in zip(names, shards, strict=True):
        writer = ShardWriter(directory / file_name, layout)
        with writer:
            left = sum(size_bytes(*entry) for entry in layout.values())
            while left:
                name, array = next(pieces)
                on_progress(Progress("Converting", done, total, "bytes", name))
                mx.eval(array)
                writer.write(name, array)
                done, left = done + array.nbytes, left - array.nbytes
        hashes[file_name] = writer.sha256
    on_progress(Progress("Converting", done, total, "bytes"))
    _write_index(plan, dict(zip(names, shards, strict=True)), directory)
    return hashes


def _shards(layout: Layout) -> Iterator[Layout]:
    """Split as mlx_lm.utils.make_shards does."""
    shard: dict[str, tuple[tuple[int, ...], mx.Dtype]] = {}
    held = 0
    for name, entry in layout.items():
        nbytes = size_bytes(*entry)
        if shard and held + nbytes > MAX_SHARD_BYTES:
            yield shard
            shard, held = {}, 0
        shard[name] = entry
        held += nbytes
    yield shard


Piece = tuple[str, mx.array]
"""A tensor's name and consecutive rows of it, or all of it."""


def _ahead(pieces: Iterator[Piece], count: int) -> Iterator[Piece]:
    """Give `pieces` in order, each once `count` later ones have been started."""
    waiting: deque[Piece] = deque()
    for piece in pieces:
        waiting.append(piece)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting


def _pieces(plan: OutputPlan, quantizer: Quantizer) -> Iterator[Piece]:
    """Every tensor of the output in the order of the layout, one module at a time."""
    for path, group in itertools.groupby(plan.layout, key=lambda name: name.rpartition(".")[0]):
        if path in plan.quantize:
            yield from _quantized(plan, path, list(group), quantizer)
            continue
        for name in group:
            for rows in input_rows(plan, name):
                mx.async_eval(rows)  # type: ignore[no-untyped-call]
                yield name, rows


def _quantized(plan: OutputPlan, path: str, names: list[str], quantizer: Quantizer) -> Iterator[Piece]:
    """Give the first of a module's packed parameters as its slices come, and the others, which are small, behind it."""
    packed = [name for name in names if f"{path}.weight" == name or name not in plan.inputs]
    held: dict[str, list[mx.array]] = {name: [] for name in packed}
    for name in names:
        if name not in held:
            yield name, read_input(plan, name)
        elif name == packed[0]:
            for part in quantizer(plan, path):
                for other in packed[1:]:
                    held[other].append(part[other.rpartition(".")[2]])
                yield name, part[name.rpartition(".")[2]]
        else:
            yield from ((name, rows) for rows in held.pop(name))


def read_input(plan: OutputPlan, name: str) -> mx.array:
    """Read one tensor of the source, evaluated, in the dtype that it is to be stored in."""
    array = plan.inputs[name].read().astype(plan.dtypes[name])
    mx.eval(array)
    return array


def input_rows(plan: OutputPlan, name: str) -> Iterator[mx.array]:
    """Read one tensor of the source by slices of about SLICE_BYTES, each in the dtype that it is to be stored in.

    A tensor that its source cannot but read whole is read so, and cut.
    """
    tensor, dtype = plan.inputs[name], plan.dtypes[name]
    if not tensor.shape or tensor.nbytes <= SLICE_BYTES:
        yield tensor.read().astype(dtype)
        return
    step = max(1, tensor.shape[0] * SLICE_BYTES // tensor.nbytes)
    read = tensor.read_rows or functools.partial(_cut, read_input(plan, name))
    for start in range(0, tensor.shape[0], step):
        yield read(start, min(start + step, tensor.shape[0])).astype(dtype)


def _cut(whole: mx.array, start: int, stop: int) -> mx.array:
    return whole[start:stop]


def _write_index(plan: OutputPlan, shards: dict[str, Layout], directory: Path) -> None:
    where = {name: file_name for file_name, layout in shards.items() for name in layout}
    index = {
        "metadata": {"total_size": plan.size_bytes, "total_parameters": plan.parameters},
        "weight_map": dict(sorted(where.items())),
    }
    path = directory / "model.safetensors.index.json"
    with disk_errors(path):
        path.write_text(json.dumps(index, indent=4), encoding="utf-8")
