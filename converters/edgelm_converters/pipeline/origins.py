"""What the modules of a network become by what their sources are: triples that are kept, or weights to be quantized anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from edgelm.quant.scheme import Settings, is_affine
from edgelm_converters.pipeline.rows import RowSources
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.packed_format import LOSSLESS
from edgelm_converters.weights.packed import unpacked


@dataclass
class Placed:
    """Tensors under other names than their source's, and what is known of their modules there."""

    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    packed: dict[str, Settings] = field(default_factory=dict)
    """Module path → how its triple is packed."""
    requantized: dict[str, Settings] = field(default_factory=dict)
    """Module path → what it may be quantized to, since its source was packed in a way that could not be kept."""


@dataclass
class Origins:
    """A source's tensors, and which of its modules are packed, or were."""

    tensors: Mapping[str, LazyTensor]
    packed: dict[str, Settings]
    requantized: dict[str, Settings]
    dense: dict[str, LazyTensor] = field(init=False)
    """The same tensors with one weight in place of every triple."""

    def __post_init__(self) -> None:
        self.dense = unpacked(self.tensors, self.packed) if self.packed else dict(self.tensors)

    @property
    def followed(self) -> set[str]:
        """Return the weights that are read in parts, or unpacked when they are read."""
        return {
            name
            for name, tensor in self.dense.items()
            if len(tensor.shape) > 1 and (_module(name) in self.packed or not tensor.is_lazy_array)
        }

    def put(self, name: str, rows: RowSources, layers: Set[str] | None, placed: Placed) -> None:
        """Put a matrix into `placed`: as a triple where all its sources are alike packed, else by value.

        Args:
            layers: paths of the network's modules that have a quantized form; None where names are still a checkpoint's.
        """
        path = name.removesuffix(".weight")
        triple = self._triple(rows) if path != name and (layers is None or path in layers) else {}
        if triple:
            placed.tensors.update({f"{path}.{part}": tensor for part, tensor in triple.items()})
            placed.packed[path] = self.packed[_module(rows.sources[0])]
            return
        placed.tensors[name] = rows.assembled([self.dense[source] for source in rows.sources])
        self.mark(name, rows.sources, layers, placed)

    def mark(self, name: str, sources: Iterable[str], layers: Set[str] | None, placed: Placed) -> None:
        """Note what a weight may be quantized to, if a source of it was packed: the widest of what they may be."""
        path = name.removesuffix(".weight")
        if layers is not None and (path == name or path not in layers):
            return
        modules = [_module(source) for source in sources]
        found = [self.requantized[module] for module in modules if module in self.requantized]
        found += [LOSSLESS for module in modules if module in self.packed]
        if found:
            placed.requantized[path] = max(found, key=lambda settings: int(settings["bits"]))

    def _triple(self, rows: RowSources) -> dict[str, LazyTensor]:
        """The parts of a packed matrix; none if its sources are not packed alike."""
        modules = [_module(source) for source in rows.sources]
        first = self.packed.get(modules[0])
        if first is None or any(self.packed.get(module) != first for module in modules):
            return {}
        found: dict[str, LazyTensor] = {}
        for part in ("weight", "scales", "biases") if is_affine(first) else ("weight", "scales"):
            parts = [self.tensors[f"{module}.{part}"] for module in modules]
            if len({tensor.dtype for tensor in parts}) > 1:
                return {}
            found[part] = rows.assembled(parts)
        return found


def _module(name: str) -> str:
    return name.removesuffix(".weight")
