"""What the modules of a network become by what their sources are: triples that are kept, or weights to be quantized anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgelm.quant.scheme import Settings, is_affine
from edgelm_converters.pipeline.rows import RowSources
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.packed_format import LOSSLESS
from edgelm_converters.weights.packed import unpacked


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
            if len(tensor.shape) > 1 and (self._module(name) in self.packed or not tensor.is_lazy_array)
        }

    def put(
        self, name: str, rows: RowSources, layers: Mapping[str, Any], tensors: dict[str, LazyTensor],
        packed: dict[str, Settings], requantized: dict[str, Settings],
    ) -> None:  # fmt: skip
        """Put a matrix of the network into `tensors`: as a triple where all its sources are alike packed, else by value.

        Args:
            layers: the network's modules that have a quantized form, by path.
        """
        triple = (
            self._triple(rows) if name.endswith(".weight") and name.removesuffix(".weight") in layers else {}
        )
        if triple:
            path = name.removesuffix(".weight")
            tensors.update({f"{path}.{part}": tensor for part, tensor in triple.items()})
            packed[path] = self.packed[self._module(rows.sources[0])]
            return
        tensors[name] = rows.assembled([self.dense[source] for source in rows.sources])
        self.mark(name, rows.sources, layers, requantized)

    def _triple(self, rows: RowSources) -> dict[str, LazyTensor]:
        """The parts of a packed matrix; none if its sources are not packed alike."""
        modules = [self._module(source) for source in rows.sources]
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

    def mark(
        self, name: str, sources: Iterable[str], layers: Mapping[str, Any], requantized: dict[str, Settings]
    ) -> None:
        """Note what a weight may be quantized to, if a source of it was packed: the widest of what they may be."""
        path = name.removesuffix(".weight")
        if path == name or path not in layers:
            return
        modules = [self._module(source) for source in sources]
        found = [self.requantized[module] for module in modules if module in self.requantized]
        found += [LOSSLESS for module in modules if module in self.packed]
        if found:
            requantized[path] = max(found, key=lambda settings: int(settings["bits"]))

    @staticmethod
    def _module(name: str) -> str:
        return name.removesuffix(".weight")
