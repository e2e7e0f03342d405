"""Writing a plan: each module read, cast, quantized, written and let go before the next.

The files are laid out as mlx-lm lays them out (shards of at most 5 GiB, an index beside them), so
stock mlx-lm loads them; the tensors are the ones it would have made.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import mlx.core as mx

from edgelm import device
from edgelm.atomic import disk_errors
from edgelm.progress import OnProgress, Progress
from edgelm.quant.matrix.formats import Packed
from edgelm.zoo.tree import flat_parameters
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.targets.mlx.shard import Layout, ShardWriter, size_bytes

MAX_SHARD_BYTES = 5 << 30
"""mlx_lm.utils.MAX_FILE_SIZE_GB."""

Quantizer = Callable[[OutputPlan, str], Packed]
"""(plan, module path) → the module's packed parameters, evaluated."""


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
    arrays = _arrays(plan, quantizer)
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


def _arrays(plan: OutputPlan, quantizer: Quantizer) -> Iterator[tuple[str, mx.array]]:
    """Every tensor of the output in the order of the layout, evaluated, one module at a time."""
    for path, group in itertools.groupby(plan.layout, key=lambda name: name.rpartition(".")[0]):
        if path not in plan.quantize:
            for name in group:
                yield name, read_input(plan, name)
            continue
        parameters = _quantized(plan, path, quantizer)
        for name in group:
            yield name, parameters.pop(name)
            if not device.current_pace().reused_bytes:
                mx.clear_cache()


def read_input(plan: OutputPlan, name: str) -> mx.array:
    """Read one tensor of the source, evaluated, in the dtype that it is to be stored in."""
    array = plan.inputs[name].read().astype(plan.dtypes[name])
    mx.eval(array)
    return array


def _quantized(plan: OutputPlan, path: str, quantizer: Quantizer) -> dict[str, mx.array]:
    arrays = {
        f"{path}.{name}": read_input(plan, f"{path}.{name}")
        for name in flat_parameters(plan.modules[path])
        if name != "weight"
    }
    packed = quantizer(plan, path)
    return arrays | {f"{path}.{kind}": array for kind, array in packed.items()}


def _write_index(plan: OutputPlan, shards: dict[str, Layout], directory: Path) -> None:
    where = {name: file_name for file_name, layout in shards.items() for name in layout}
    index = {
        "metadata": {"total_size": plan.size_bytes, "total_parameters": plan.parameters},
        "weight_map": dict(sorted(where.items())),
    }
    path = directory / "model.safetensors.index.json"
    with disk_errors(path):
        path.write_text(json.dumps(index, indent=4), encoding="utf-8")
