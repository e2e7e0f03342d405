"""mlx-lm's `sanitize`, applied to tensors that have not been read.

Each architecture's `sanitize` renames, drops, stacks or rewrites tensors. It is first run on
placeholders that cost nothing; a tensor that comes out as the very object that went in was only renamed,
and is later read straight from its source. Only what `sanitize` computes with is given as real, still
lazy, arrays: from the source's own files where MLX can map them, else from a staged copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm_converters.checkpoint import LazyTensor
from edgelm_converters.writer import ShardWriter


def sanitized(network: Any, tensors: Mapping[str, LazyTensor], stage: Path) -> dict[str, LazyTensor]:
    """The tensors under the network's own parameter names.

    Args:
        network: an mlx-lm network.
        tensors: the source's tensors.
        stage: a directory to keep copies of tensors in that `sanitize` computes with.
    """
    if not hasattr(network, "sanitize"):
        return dict(tensors)
    placeholders = {name: mx.zeros(tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    renamed = _passed_through(network.sanitize(dict(placeholders)), placeholders)
    computed_from = sorted(set(placeholders) - set(renamed.values()))
    if not computed_from:
        return {new: tensors[old] for new, old in renamed.items()}
    real = _staged({name: tensors[name] for name in computed_from}, stage)
    outputs = network.sanitize({**placeholders, **real})
    renamed = _passed_through(outputs, placeholders)
    computed = {name: array for name, array in outputs.items() if name not in renamed}
    # The outputs dictionary is what keeps the lazy arrays alive; each is let go when it is read.
    return {name: tensors[renamed[name]] if name in renamed else _once(computed, name) for name in outputs}


def _passed_through(outputs: Mapping[str, mx.array], inputs: Mapping[str, mx.array]) -> dict[str, str]:
    """Output name → input name, for the outputs that are inputs."""
    names = {id(array): name for name, array in inputs.items()}
    return {new: names[id(array)] for new, array in outputs.items() if id(array) in names}


def _once(arrays: dict[str, mx.array], name: str) -> LazyTensor:
    return LazyTensor(tuple(arrays[name].shape), arrays[name].dtype, lambda: arrays.pop(name), "computed")


def _staged(tensors: Mapping[str, LazyTensor], stage: Path) -> dict[str, mx.array]:
    """Real lazy arrays: mapped from the source where it can, else from one staged safetensors file each."""
    found: dict[str, mx.array] = {}
    for index, (name, tensor) in enumerate(tensors.items()):
        if tensor.is_lazy_array:
            found[name] = tensor.read()
            continue
        path = stage / f"staged-{index}.safetensors"
        with ShardWriter(path, {name: (tensor.shape, tensor.dtype)}) as writer:
            writer.write(name, tensor.read())
        staged: Any = mx.load(str(path))
        found[name] = staged[name]
    return found
