"""mlx-lm's `sanitize`, applied to tensors that have not been read.

Each architecture's `sanitize` renames, drops, stacks or rewrites tensors, and some change the network as well. It is first
tried on a network of its own, with placeholders that cost nothing; a tensor that comes out as the very object that went
in was only renamed, and is later read straight from its source. Only what `sanitize` computes with is given as real, still
lazy, arrays: from the source's own files where MLX can map them, else from a staged copy. What it leaves out is told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.tune.plan.trace.graph import trace
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.targets.mlx.shard import ShardWriter

MakeNetwork = Callable[[], Any]


@dataclass(frozen=True)
class Sanitized:
    """The tensors under the network's own parameter names."""

    tensors: dict[str, LazyTensor]
    dropped: tuple[str, ...] = ()
    """Names of the source's tensors that the network has no use for."""


@dataclass
class _Trial:
    """What became of placeholders in a network that is thrown away."""

    placeholders: dict[str, mx.array]
    renamed: dict[str, str] = field(default_factory=dict)
    """Network's name → source's."""
    computed: list[str] = field(default_factory=list)
    """Names that came out anew."""

    @property
    def others(self) -> list[str]:
        """The source's names that did not come out."""
        return sorted(set(self.placeholders) - set(self.renamed.values()))


def sanitized(
    network: Any, tensors: Mapping[str, LazyTensor], stage: Path, make_network: MakeNetwork
) -> Sanitized:
    """Give the tensors for `network`, which is sanitized with them.

    Args:
        network: a fresh mlx-lm network.
        tensors: the source's tensors.
        stage: a directory to keep copies of tensors in that `sanitize` computes with.
        make_network: another one like `network`, to try on.
    """
    if not hasattr(network, "sanitize"):
        return Sanitized(dict(tensors))
    trial = _try(make_network(), tensors)
    used = _used(trial, make_network) if trial.computed else set[str]()
    real = _staged({name: tensors[name] for name in sorted(used)}, stage)
    outputs = network.sanitize({**trial.placeholders, **real})
    renamed = _passed_through(outputs, trial.placeholders)
    computed = {name: array for name, array in outputs.items() if name not in renamed}
    # The outputs dictionary is what keeps the lazy arrays alive; each is let go when it is read.
    result = {name: tensors[renamed[name]] if name in renamed else _once(computed, name) for name in outputs}
    return Sanitized(result, tuple(name for name in trial.others if name not in used))


def _try(network: Any, tensors: Mapping[str, LazyTensor]) -> _Trial:
    trial = _Trial({name: mx.zeros(tensor.shape, tensor.dtype) for name, tensor in tensors.items()})
    outputs = network.sanitize(dict(trial.placeholders))
    trial.renamed = _passed_through(outputs, trial.placeholders)
    trial.computed = [name for name in outputs if name not in trial.renamed]
    return trial


def _used(trial: _Trial, make_network: MakeNetwork) -> set[str]:
    """Those of the names that did not come out that something is computed from; all where that cannot be traced."""
    others, network = trial.others, make_network()

    def compute(*arrays: mx.array) -> Sequence[mx.array]:
        outputs = network.sanitize({**trial.placeholders, **dict(zip(others, arrays, strict=True))})
        return [outputs[name] for name in trial.computed]

    try:
        graph = trace(compute, [trial.placeholders[name] for name in others])
    except (ValueError, RuntimeError):
        return set(others)
    read = {name for node in graph.nodes for name in node.inputs} | set(graph.results)
    return {name for name, given in zip(others, graph.given, strict=False) if given in read}


def _passed_through(outputs: Mapping[str, mx.array], inputs: Mapping[str, mx.array]) -> dict[str, str]:
    """Output name → input name, for the outputs that are inputs."""
    names = {id(array): name for name, array in inputs.items()}
    return {new: names[id(array)] for new, array in outputs.items() if id(array) in names}


def _once(arrays: dict[str, mx.array], name: str) -> LazyTensor:
    return LazyTensor(tuple(arrays[name].shape), arrays[name].dtype, lambda: arrays.pop(name), "computed")


def _staged(tensors: Mapping[str, LazyTensor], stage: Path) -> dict[str, mx.array]:
    """Real lazy arrays: mapped from the source where it can, else from one staged safetensors file each."""
    arrays: dict[str, mx.array] = {}
    for index, (name, tensor) in enumerate(tensors.items()):
        if tensor.is_lazy_array:
            arrays[name] = tensor.read()
            continue
        path = stage / f"staged-{index}.safetensors"
        with ShardWriter(path, {name: (tensor.shape, tensor.dtype)}) as writer:
            writer.write(name, tensor.read())
        staged: Any = mx.load(str(path), format="safetensors")
        arrays[name] = staged[name]
    return arrays


def grouped(names: Iterable[str]) -> dict[str, int]:
    """Count the names of each kind: numbers are starred, and towers are told by their first two parts."""
    counts = Counter(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name) for name in names)
    towers: Counter[str] = Counter()
    for name, count in counts.items():
        towers[".".join(name.split(".")[:2]) + ".…" if _TOWER.search(name) else name] += count
    return dict(sorted(towers.items()))


_TOWER = re.compile(
    r"(?:^|\.)(?:vision\w*|visual|audio\w*|\w*projector|vpm|resampler|talker|token2wav|mtp)(?:\.|$)"
)
