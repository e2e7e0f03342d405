"""Quantizing the layers of a network one after the other, from what calibration text does in them: what both ways share.

`weighted.py` and `sequential.py` are the ways. In memory at any time: the hidden states (spilled beyond a budget), the
layer twice, and the Hessian of the modules that share one input. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from edgelm.quant.apply import quantizable
from edgelm.quant.layers.moments import Products, Squares
from edgelm.quant.matrix import formats
from edgelm.quant.matrix.formats import Packed
from edgelm.quant.scheme import Settings, is_affine
from edgelm.quant.streams.taps import Inputs, Taps
from edgelm.quant.streams.walk import Walk
from edgelm.zoo.tree import number

SOURCE, QUANTIZED = "source", "quantized"


@dataclass(frozen=True)
class ModuleOutcome:
    """What became of one module."""

    path: str
    method: str
    """"gptq", "weighted search", "search" (no calibration text reached it), or "rounded"."""
    tokens: int
    """Calibration rows that reached it."""
    relative_error: float | None
    """Expected squared error of its output over the output's square; None where nothing reached it.

    With GPTQ from the outputs that were asked for, which make good a part of the errors before it.
    """


@dataclass
class LayerResult:
    """One quantized layer: packed arrays by parameter path, and what became of each module."""

    arrays: dict[str, mx.array] = field(default_factory=dict)
    outcomes: list[ModuleOutcome] = field(default_factory=list)

    def add(self, packed: Packed, outcome: ModuleOutcome) -> None:
        """Keep the module that `outcome` is about."""
        mx.eval(packed)
        self.arrays.update({f"{outcome.path}.{kind}": array for kind, array in packed.items()})
        self.outcomes.append(outcome)

    def packed(self, path: str) -> Packed:
        """Return the packed arrays that `add` kept of the module at `path`."""
        arrays = {kind: self.arrays.get(f"{path}.{kind}") for kind in ("weight", "scales", "biases")}
        return {kind: array for kind, array in arrays.items() if array is not None}


OnModule = Callable[[str], None]
"""Called with the path of each module before it is worked on."""


class Layerwise:
    """What both methods share: the modules of each layer, and running them."""

    def __init__(self, walk: Walk, settings: Mapping[str, Settings], on_module: OnModule) -> None:
        self.walk, self.settings, self.on_module = walk, settings, on_module
        modules = quantizable(walk.network)
        self.modules = [
            {path: modules[path] for path in settings if path.startswith(f"{layer}.")} for layer in walk.paths
        ]
        self.taps = [Taps(of_layer) for of_layer in self.modules]
        self.outer = [
            path for path in settings if not path.startswith(tuple(f"{layer}." for layer in walk.paths))
        ]

    @property
    def tokens(self) -> int:
        """Tokens of calibration text."""
        return sum(ids.size for ids in self.walk.batches)

    def are_affine(self, paths: Iterable[str]) -> bool:
        """Tell whether all of them become free scales and biases, which GPTQ is for."""
        return all(is_affine(self.settings[path]) for path in paths)

    def caught(self, index: int, stream: str, batch: int) -> tuple[list[Inputs], Any]:
        """Run a layer on one batch; gives the inputs of its modules and what it returns, unevaluated."""
        with self.taps[index].watching() as caught:
            returned = self.walk.run(index, stream, batch)
        return caught, returned

    def head_inputs(self, stream: str) -> Iterator[Inputs]:
        """Yield what reaches the output head after the last layer, batch by batch; nothing where no head is seen."""
        for batch in range(len(self.walk.batches)):
            reaching = self.walk.head_input(stream, batch)
            if reaching is not None:
                path, hidden = reaching
                yield Inputs(path, hidden, hidden.reshape(-1, hidden.shape[-1]), None)

    def head_importance(self, stream: str) -> tuple[str | None, mx.array | None]:
        """Return the path of the output head and E[x²] of its inputs [C]; None where no head is seen."""
        squares: Squares | None = None
        path = None
        for inputs in self.head_inputs(stream):
            path = inputs.path
            squares = squares or Squares.zero((1, inputs.rows.shape[-1]))
            squares.add(inputs)
        return path, squares.importance() if squares is not None else None

    def head_hessian(self, stream: str) -> tuple[str, mx.array] | None:
        """Return the path of the output head and XᵀX [C, C] of its inputs; None where no head is seen."""
        products: Products | None = None
        path = ""
        for inputs in self.head_inputs(stream):
            path = inputs.path
            products = products or Products.zero(inputs.rows.shape[1])
            products.add(inputs.rows)
        return (path, products.hessian) if products is not None else None

    def search(
        self,
        result: LayerResult,
        path: str,
        weight: mx.array,
        importance: mx.array | None = None,
        tokens: int = 0,
    ) -> Packed:
        """Search `weight` (as stored) under the `importance` that `tokens` rows gave it; adds to `result`."""
        self.on_module(path)
        settings = self.settings[path]
        packed = formats.searched(weight, settings, importance)
        error = None
        if importance is not None:
            difference = formats.dequantized(packed, settings) - weight
            error = share(importance, difference, weight)
        method = "search" if importance is None else "weighted search"
        result.add(packed, ModuleOutcome(path, method, tokens, error))
        return packed


def share(importance: mx.array, error: mx.array, weight: mx.array) -> float:
    """Σ E[x²] d² over Σ E[x²] w²."""
    weights = importance[..., None, :]
    whole = (weights * mx.square(weight.astype(mx.float32))).sum()
    return number((weights * mx.square(error)).sum() / mx.maximum(whole, 1e-30))
