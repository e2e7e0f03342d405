"""Changes of values, two-way; what is quantized is dequantized for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgelm_converters.sources.gguf.families.rows import Indices, RowOrder, Sizes

Values = npt.NDArray[np.float32]


class ValueChange(Protocol):
    """What llama.cpp computed when it wrote tensors, and how it is undone."""

    def from_gguf(self, stored: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Return the network's tensors for the stored ones."""
        ...

    def to_gguf(self, network: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Return the tensors to be stored for the network's."""
        ...


@dataclass(frozen=True, slots=True)
class Shifted:
    """Values that llama.cpp stores with something added, such as Gemma's norms, which multiply by 1 + weight."""

    by: float

    def from_gguf(self, stored: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Take the shift off."""
        return [values - np.float32(self.by) for values in stored]

    def to_gguf(self, network: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Add the shift again."""
        return [values + np.float32(self.by) for values in network]


@dataclass(frozen=True, slots=True)
class NegatedExponential:
    """The decay of a state space model: stored as A = -exp(A_log), which is what is computed with."""

    def from_gguf(self, stored: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Return A_log, log(-A)."""
        with np.errstate(all="ignore"):
            return [np.log(-values) for values in stored]

    def to_gguf(self, network: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Return A, -exp(A_log)."""
        return [-np.exp(values) for values in network]


@dataclass(frozen=True, slots=True)
class Reshaped:
    """The same values in the same order, in another shape: the rule says which."""

    def from_gguf(self, stored: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Return them as they are."""
        return list(stored)

    def to_gguf(self, network: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Return them as they are."""
        return list(network)


@dataclass(frozen=True, slots=True)
class ColumnsMoved:
    """Columns in another order, as those of what reads the heads' outputs."""

    order: RowOrder

    def columns(self, sizes: Sizes) -> Indices:
        """Return for each column of the network's the one that is stored: whole blocks of them move as they are quantized."""
        return self.order.indices(sizes)

    def from_gguf(self, stored: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Return the network's tensors."""
        return [values[:, self.order.indices(sizes)] for values in stored]

    def to_gguf(self, network: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Return the tensors to be stored."""
        return [values[:, np.argsort(self.order.indices(sizes))] for values in network]
