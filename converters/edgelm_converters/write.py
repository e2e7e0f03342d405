"""Writing a plan: each module read, cast, quantized, written and let go before the next.

The files are laid out as mlx-lm lays them out (shards of at most 5 GiB, an index beside them), so
stock mlx-lm loads them; the tensors are the ones it would have made.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.atomic import disk_errors
from edgelm.progress import OnProgress, Progress
from edgelm.quant.tree import flat_parameters
from edgelm_converters.plan import Plan
from edgelm_converters.writer import Layout, ShardWriter, size_bytes

MAX_SHARD_BYTES = 5 << 30
"""mlx_lm.utils.MAX_FILE_SIZE_GB."""

LARGE_BYTES = 64 << 20
"""Tensors above this are quantized in slices of rows, so that no second copy of them is made."""


def write_weights(plan: Plan, directory: Path, on_progress: OnProgress) -> dict[str, str]:
    """Write the weight files of `plan` into `directory`; returns the SHA-256 of each by file name."""
    shards = list(_shards(plan.layout))
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    arrays = _arrays(plan)
    done, hashes = 0, {}
    for file_name, layout in zip(names, shards, strict=True):
        writer = ShardWriter(directory / file_name, layout)
        with writer:
            for name, array in itertools.islice(arrays, len(layout)):
                on_progress(Progress("Converting", done, plan.size_bytes, "bytes", name))
                writer.write(name, array)
                done += array.nbytes
        hashes[file_name] = writer.sha256
    on_progress(Progress("Converting", done, plan.size_bytes, "bytes"))
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


def _arrays(plan: Plan) -> Iterator[tuple[str, mx.array]]:
    """Every tensor of the output in the order of the layout, evaluated, one module at a time."""
    for path, group in itertools.groupby(plan.layout, key=lambda name: name.rpartition(".")[0]):
        if path not in plan.quantize:
            for name in group:
                yield name, _read(plan, name)
            continue
        made = _quantized(plan, path)
        for name in group:
            yield name, made.pop(name)
            mx.clear_cache()


def _read(plan: Plan, name: str) -> mx.array:
    array = plan.inputs[name].read().astype(plan.dtypes[name])
    mx.eval(array)
    return array


def _quantized(plan: Plan, path: str) -> dict[str, mx.array]:
    settings, module = plan.quantize[path], plan.modules[path]
    arrays: dict[str, mx.array] = {}
    for name in flat_parameters(module):
        if name != "weight":
            arrays[f"{path}.{name}"] = _read(plan, f"{path}.{name}")
    parts = _slices(_read(plan, f"{path}.weight"), module, settings)
    for kind in list(parts[0]):
        columns = [part.pop(kind) for part in parts]
        arrays[f"{path}.{kind}"] = columns[0] if len(columns) == 1 else mx.concatenate(columns)
        mx.eval(arrays[f"{path}.{kind}"])
    return arrays


def _slices(weight: mx.array, module: Any, settings: dict[str, Any]) -> list[dict[str, mx.array]]:
    """The module's quantized parameters, in slices along the first axis (groups lie along the last)."""
    count = max(1, min(weight.shape[0], -(-weight.nbytes // LARGE_BYTES)))
    step = -(-weight.shape[0] // count)
    made = []
    for start in range(0, weight.shape[0], step):
        module.weight = weight[start : start + step]
        packed = module.to_quantized(**settings)
        part = {
            kind: value
            for kind, value in flat_parameters(packed).items()
            if kind in ("weight", "scales", "biases")
        }
        mx.eval(part)
        made.append(part)
    module.weight = mx.zeros((0, 0))
    return made


def _write_index(plan: Plan, shards: dict[str, Layout], directory: Path) -> None:
    where = {name: file_name for file_name, layout in shards.items() for name in layout}
    index = {
        "metadata": {"total_size": plan.size_bytes, "total_parameters": plan.parameters},
        "weight_map": dict(sorted(where.items())),
    }
    path = directory / "model.safetensors.index.json"
    with disk_errors(path):
        path.write_text(json.dumps(index, indent=4), encoding="utf-8")
