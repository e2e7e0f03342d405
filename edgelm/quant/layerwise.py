"""Quantizing the layers of a network one after the other, from what calibration text does in them.

`Weighted` (quality "good") runs the source alone and searches every weight under the E[x²] of its inputs.
`Sequential` (quality "best") carries two streams: the source's hidden states and those of the model quantized so
far. In each layer the modules are taken in the order in which they run; GPTQ sees the inputs that the already
quantized part really gives, and its target is moved half-way to the source's outputs.

In memory at any time: the hidden states (spilled beyond a budget), the layer twice, one Hessian and its
cross product. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from edgelm.quant import formats
from edgelm.quant.apply import quantizable
from edgelm.quant.curvature import Curvature, alignment, curvature
from edgelm.quant.formats import Packed, Settings
from edgelm.quant.gptq import fit
from edgelm.quant.moments import MIN_EXPERT_TOKENS, Products, Squares, rows_by_slice
from edgelm.quant.taps import Inputs, Taps, groups_of
from edgelm.quant.tree import number
from edgelm.quant.walk import Walk

SOURCE, QUANTIZED = "source", "quantized"

HESSIANS_BYTES = 1 << 30
"""Of the Hessians of experts that are summed in one pass."""


@dataclass(frozen=True)
class Outcome:
    """What became of one module."""

    path: str
    method: str
    """"gptq", "weighted search", "search" (no calibration text reached it), or "rounded"."""
    tokens: int
    """Calibration rows that reached it."""
    relative_error: float | None
    """Expected squared error of its output over the output's square; None where nothing reached it."""


@dataclass
class LayerResult:
    """One quantized layer: packed arrays by parameter path, and what became of each module."""

    arrays: dict[str, mx.array] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)


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

    def caught(self, index: int, stream: str, batch: int) -> tuple[list[Inputs], Any]:
        """The inputs of the modules of a layer in one batch, and what the layer returns; unevaluated."""
        with self.taps[index].watching() as caught:
            returned = self.walk.run(index, stream, batch)
        return caught, returned

    def head_squares(self, stream: str) -> tuple[str | None, mx.array | None]:
        """The path of the output head and E[x²] of its inputs, after the last layer; None where not seen."""
        squares: Squares | None = None
        path = None
        for batch in range(len(self.walk.batches)):
            found = self.walk.head_input(stream, batch)
            if found is None:
                return None, None
            path, hidden = found
            rows = hidden.reshape(-1, hidden.shape[-1])
            squares = squares or Squares.zero((1, rows.shape[-1]))
            squares.add(Inputs(path, hidden, rows, None))
        return path, squares.importance() if squares is not None else None

    def search(self, result: LayerResult, path: str, weight: mx.array, squares: Squares | None) -> Packed:
        """Search `weight` (as stored) under what was seen; adds to `result`."""
        self.on_module(path)
        importance = squares.importance() if squares is not None else None
        settings = self.settings[path]
        packed = formats.searched(weight, settings, importance)
        error = None
        if importance is not None:
            difference = formats.dequantized(packed, settings) - weight
            error = _share(importance, difference, weight)
        method = "search" if importance is None else "weighted search"
        tokens = int(number(squares.rows.sum())) if squares is not None else 0
        _add(result, path, packed, Outcome(path, method, tokens, error))
        return packed


class Weighted(Layerwise):
    """Quality "good": one pass of the source."""

    def layer(self, index: int) -> LayerResult:
        """Quantize layer `index`, and take the source's hidden states past it."""
        parameters = self.walk.load(index)
        seen: dict[str, Squares] = {}
        for batch in range(len(self.walk.batches)):
            caught, returned = self.caught(index, SOURCE, batch)
            for inputs in caught:
                weight = parameters[f"{inputs.path}.weight"]
                seen.setdefault(inputs.path, Squares.zero(weight.shape)).add(inputs)
            self.walk.keep(index, SOURCE, batch, returned)
        result = LayerResult()
        for path in self.modules[index]:
            stored = parameters[f"{path}.weight"].astype(self.walk.read_dtype(f"{path}.weight"))
            self.search(result, path, stored, seen.get(path))
        self.walk.unload(index)
        return result


class Sequential(Layerwise):
    """Quality "best": GPTQ on the inputs of the model quantized so far."""

    def layer(self, index: int) -> LayerResult:
        """Quantize layer `index`, and take both streams past it."""
        walk = self.walk
        source = walk.load(index)
        quantized = dict(source)
        result = LayerResult()
        caught, _ = self.caught(index, SOURCE, 0)
        groups = groups_of(caught)
        del caught
        for group in groups:
            done = self._group(index, group, source, quantized, result)
            quantized.update(done)
        for path in self.modules[index]:
            if f"{path}.weight" not in result.arrays:  # nothing reached it
                stored = source[f"{path}.weight"].astype(walk.read_dtype(f"{path}.weight"))
                packed = self.search(result, path, stored, None)
                quantized[f"{path}.weight"] = formats.dequantized(packed, self.settings[path])
        self._advance(index, source, quantized)
        return result

    def replay(self, index: int, arrays: Mapping[str, mx.array]) -> None:
        """Take both streams past a layer that was quantized before."""
        source = self.walk.load(index)
        quantized = dict(source)
        for path in self.modules[index]:
            packed = {
                kind: arrays[f"{path}.{kind}"]
                for kind in ("weight", "scales", "biases")
                if f"{path}.{kind}" in arrays
            }
            quantized[f"{path}.weight"] = formats.dequantized(packed, self.settings[path])
        self._advance(index, source, quantized)

    def _advance(self, index: int, source: dict[str, mx.array], quantized: dict[str, mx.array]) -> None:
        for stream, parameters in ((SOURCE, source), (QUANTIZED, quantized)):
            self.walk.use(parameters)
            self.walk.advance(index, stream)
        self.walk.unload(index)

    def _group(
        self, index: int, group: list[str], source: dict[str, mx.array], quantized: dict[str, mx.array],
        result: LayerResult,
    ) -> dict[str, mx.array]:  # fmt: skip
        """Quantize modules that share their input; returns their weights as they are now."""
        if any(self.settings[path].get("mode", "affine") != "affine" for path in group):
            return self._searched(index, group, source, quantized, result)
        if source[f"{group[0]}.weight"].ndim == 3:
            return self._stacked(index, group, source, quantized, result)
        columns = source[f"{group[0]}.weight"].shape[1]
        products, rows = Products.zero(columns), 0
        for batch in range(len(self.walk.batches)):
            self.walk.use(source)
            wanted = [found.rows for found in self.caught(index, SOURCE, batch)[0] if found.path == group[0]]
            self.walk.use(quantized)
            given = [
                found.rows for found in self.caught(index, QUANTIZED, batch)[0] if found.path == group[0]
            ]
            for one, other in zip(given, wanted, strict=True):
                products.add(one, other)
                rows += one.shape[0]
        bent, move = curvature(products.hessian), alignment(products.hessian, products.cross)
        del products
        return {
            f"{path}.weight": self._fitted(path, source[f"{path}.weight"], bent, move, rows, result)
            for path in group
        }

    def _fitted(
        self, path: str, weight: mx.array, bent: Curvature, move: mx.array | None, rows: int, result: LayerResult
    ) -> mx.array:  # fmt: skip
        self.on_module(path)
        settings = self.settings[path]
        fitted = fit(
            weight, bent, settings["bits"], settings["group_size"], self.walk.read_dtype(f"{path}.weight"),
            move=move,
        )  # fmt: skip
        packed = fitted.packed()
        made = formats.dequantized(packed, settings)
        error = number(bent.loss(made - weight).sum() / bent.loss(weight).sum())
        _add(result, path, packed, Outcome(path, "gptq", rows, error))
        return made

    def _searched(
        self, index: int, group: list[str], source: dict[str, mx.array], quantized: dict[str, mx.array],
        result: LayerResult,
    ) -> dict[str, mx.array]:  # fmt: skip
        squares = self._squares(index, group, source, quantized)
        made = {}
        for path in group:
            stored = source[f"{path}.weight"].astype(self.walk.read_dtype(f"{path}.weight"))
            packed = self.search(result, path, stored, squares)
            made[f"{path}.weight"] = formats.dequantized(packed, self.settings[path])
        return made

    def _squares(
        self, index: int, group: list[str], source: dict[str, mx.array], quantized: dict[str, mx.array]
    ) -> Squares:
        squares = Squares.zero(source[f"{group[0]}.weight"].shape)
        self.walk.use(quantized)
        for batch in range(len(self.walk.batches)):
            for found in self.caught(index, QUANTIZED, batch)[0]:
                if found.path == group[0]:
                    squares.add(found)
        return squares

    def _stacked(
        self, index: int, group: list[str], source: dict[str, mx.array], quantized: dict[str, mx.array],
        result: LayerResult,
    ) -> dict[str, mx.array]:  # fmt: skip
        """Experts or heads: GPTQ for those that enough tokens reach, the weighted search for the others.

        No alignment: the source may have sent other tokens to an expert.
        """
        squares = self._squares(index, group, source, quantized)
        made = self._searched_stack(group, source, squares)
        counts: Any = squares.rows.tolist()
        rich = [slot for slot, count in enumerate(counts) if count >= MIN_EXPERT_TOKENS]
        columns = source[f"{group[0]}.weight"].shape[-1]
        step = max(1, HESSIANS_BYTES // (4 * columns * columns))
        for start in range(0, len(rich), step):
            for slot, hessian in self._hessians(index, group[0], rich[start : start + step], columns).items():
                bent = curvature(hessian)
                for path in group:
                    self.on_module(f"{path}[{slot}]")
                    settings, weight = self.settings[path], source[f"{path}.weight"][slot]
                    dtype = self.walk.read_dtype(f"{path}.weight")
                    made[path][slot] = fit(
                        weight, bent, settings["bits"], settings["group_size"], dtype
                    ).packed()
        return {
            f"{path}.weight": self._joined(path, made[path], source[f"{path}.weight"], squares, rich, result)
            for path in group
        }

    def _searched_stack(
        self, group: list[str], source: dict[str, mx.array], squares: Squares
    ) -> dict[str, list[Packed]]:
        importance = squares.importance()
        made = {}
        for path in group:
            self.on_module(path)
            stored = source[f"{path}.weight"].astype(self.walk.read_dtype(f"{path}.weight"))
            packed = formats.searched(stored, self.settings[path], importance)
            made[path] = [
                {kind: array[slot] for kind, array in packed.items()} for slot in range(stored.shape[0])
            ]
        return made

    def _hessians(self, index: int, path: str, slots: list[int], columns: int) -> dict[int, mx.array]:
        sums = {slot: mx.zeros((columns, columns)) for slot in slots}
        for batch in range(len(self.walk.batches)):
            for found in self.caught(index, QUANTIZED, batch)[0]:
                if found.path == path:
                    for slot, rows in rows_by_slice(found, slots).items():
                        sums[slot] = sums[slot] + rows.T @ rows
            mx.eval(sums)
        return sums

    def _joined(
        self, path: str, parts: list[Packed], weight: mx.array, squares: Squares, rich: list[int],
        result: LayerResult,
    ) -> mx.array:  # fmt: skip
        packed = {kind: mx.stack([part[kind] for part in parts]) for kind in parts[0]}
        made = formats.dequantized(packed, self.settings[path])
        importance = squares.importance()
        error = None if importance is None else _share(importance, made - weight, weight)
        method = (
            f"gptq for {len(rich)} of {len(parts)}, weighted search" if len(rich) < len(parts) else "gptq"
        )
        _add(result, path, packed, Outcome(path, method, int(number(squares.rows.sum())), error))
        return made


def _share(importance: mx.array, error: mx.array, weight: mx.array) -> float:
    """Σ E[x²] d² over Σ E[x²] w²."""
    weights = importance[..., None, :]
    whole = (weights * mx.square(weight.astype(mx.float32))).sum()
    return number((weights * mx.square(error)).sum() / mx.maximum(whole, 1e-30))


def _add(result: LayerResult, path: str, packed: Packed, outcome: Outcome) -> None:
    mx.eval(packed)
    result.arrays.update({f"{path}.{kind}": array for kind, array in packed.items()})
    result.outcomes.append(outcome)
