"""mlx-lm's `sanitize`, applied to tensors that have not been read.

Each architecture's `sanitize` renames, drops, stacks or rewrites tensors, and some change the network as well. It is first
tried on a network of its own, with placeholders that cost nothing; a tensor that comes out as the very object that went in,
and is still what it was, was only renamed, and is later read straight from its source. An object that was multiplied in place
(`falcon_h1`: `param *= …`) is told by what MLX would have to compute for it. Weights that are packed, or unpacked when they
are read, are followed by their rows (`rows.py`) and put together then. Only what else `sanitize` computes with is given as
real, still lazy, arrays: from the source's own files where MLX can map them, else from a staged copy. What it leaves out is
told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.quant.apply import quantizable
from edgelm.quant.scheme import Settings
from edgelm.tune.plan.trace.graph import trace
from edgelm_converters.pipeline.origins import Origins, Placed
from edgelm_converters.pipeline.rows import RowSources, follow_rows
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.targets.mlx.shard import ShardWriter

MakeNetwork = Callable[[], Any]


@dataclass
class Sanitized(Placed):
    """The tensors under the network's own parameter names."""

    dropped: tuple[str, ...] = ()
    """Names of the source's tensors that the network has no use for."""


@dataclass
class _Trial:
    """What became of placeholders in a network that is thrown away."""

    placeholders: dict[str, mx.array]
    renamed: dict[str, str] = field(default_factory=dict)
    """Network's name → source's."""
    computed: list[str] = field(default_factory=list)
    """Names that came out anew, or changed in place."""

    @property
    def others(self) -> list[str]:
        """The source's names that did not come out."""
        return sorted(set(self.placeholders) - set(self.renamed.values()))


def sanitized(
    network: Any,
    tensors: Mapping[str, LazyTensor],
    stage: Path,
    make_network: MakeNetwork,
    packed: Mapping[str, Settings] | None = None,
    requantized: Mapping[str, Settings] | None = None,
) -> Sanitized:
    """Give the tensors for `network`, which is sanitized with them.

    Args:
        network: a fresh mlx-lm network.
        tensors: the source's tensors.
        stage: a directory to keep copies of tensors in that `sanitize` computes with.
        make_network: another one like `network`, to try on.
        packed: the source's modules that are triples, under its own names.
        requantized: its modules that were unpacked, and what they may be quantized to.
    """
    origins = Origins(tensors, dict(packed or {}), dict(requantized or {}))
    if not hasattr(network, "sanitize"):
        return Sanitized(dict(tensors), origins.packed, origins.requantized)
    dense, layers = origins.dense, quantizable(make_network()).keys()
    rows = follow_rows(make_network().sanitize, dense, origins.followed) if origins.followed else {}
    trial = _try(make_network(), dense, rows)
    sources = _sources(trial, make_network) if trial.computed else {}
    used = set[str]().union(*sources.values())
    real = _staged({name: dense[name] for name in sorted(used)}, stage)
    outputs = network.sanitize({**trial.placeholders, **real})
    renamed = _passed_through(outputs, trial.placeholders)
    computed = {name: array for name, array in outputs.items() if name not in renamed and name not in rows}
    used.update(*(each.sources for each in rows.values()))
    result = Sanitized(dropped=tuple(name for name in trial.others if name not in used))
    for name in outputs:
        if name in rows:
            origins.put(name, rows[name], layers, result)
            continue
        # The outputs dictionary is what keeps the lazy arrays alive; each is let go when it is read.
        result.tensors[name] = dense[renamed[name]] if name in renamed else _once(computed, name)
        origins.mark(name, sources.get(name, {renamed.get(name, "")}), layers, result)
    return result


def _try(network: Any, tensors: Mapping[str, LazyTensor], rows: Mapping[str, RowSources]) -> _Trial:
    trial = _Trial({name: _placeholder(tensor) for name, tensor in tensors.items()})
    mx.eval(list(trial.placeholders.values()))
    outputs = network.sanitize(dict(trial.placeholders))
    changed = changed_in_place(trial.placeholders)
    untouched = {name: array for name, array in trial.placeholders.items() if name not in changed}
    trial.renamed = _passed_through(outputs, untouched)
    trial.computed = [name for name in outputs if name not in trial.renamed and name not in rows]
    return trial


def _placeholder(tensor: LazyTensor) -> mx.array:
    """An array of the tensor's shape whose elements are one and the same: once evaluated it takes a few bytes."""
    return mx.broadcast_to(mx.zeros((), tensor.dtype), tensor.shape)


def changed_in_place(arrays: Mapping[str, mx.array]) -> set[str]:
    """Return the names of `arrays`, all evaluated once, that something was done to since; all where that cannot be traced."""
    try:
        graph = trace(lambda: list(arrays.values()), [])
    except (ValueError, RuntimeError):
        return set(arrays)
    made = {name for node in graph.nodes for name in node.outputs}
    return {name for name, result in zip(arrays, graph.results, strict=True) if result in made}


def _sources(trial: _Trial, make_network: MakeNetwork) -> dict[str, set[str]]:
    """The tensors, of those that did not come out, that each computed one is made of; all where that cannot be traced."""
    others, network = trial.others, make_network()

    def compute(*arrays: mx.array) -> Sequence[mx.array]:
        outputs = network.sanitize({**trial.placeholders, **dict(zip(others, arrays, strict=True))})
        return [outputs[name] for name in trial.computed]

    try:
        with _traceable():
            graph = trace(compute, [trial.placeholders[name] for name in others])
    except (ValueError, RuntimeError):
        return {name: set(others) for name in trial.computed}
    made_of = {name: {given} for given, name in zip(others, graph.given, strict=False)}
    for node in graph.nodes:
        sources = set[str]().union(*(made_of.get(name, ()) for name in node.inputs))
        made_of.update(dict.fromkeys(node.outputs, sources))
    return {
        name: made_of.get(given, set()) for name, given in zip(trial.computed, graph.results, strict=True)
    }


@contextmanager
def _traceable() -> Iterator[None]:
    """Let `mx.contiguous`, which MLX 0.32 cannot export and DeepSeek's `sanitize` calls, give back what it is given."""
    contiguous = mx.contiguous
    mx.contiguous = lambda array, *_, **__: array
    try:
        yield
    finally:
        mx.contiguous = contiguous


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
