"""Quality "best": GPTQ layer by layer, on what the model quantized so far really gives each module.

Two streams are carried: the source's hidden states and those of the model quantized so far. GPTQ sees the inputs that
the quantized layers before really give, and its target is moved half-way to the source's outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx

from edgelm.quant.layers.layerwise import QUANTIZED, SOURCE, LayerResult, Layerwise, ModuleOutcome, share
from edgelm.quant.layers.moments import MIN_EXPERT_TOKENS, Products, Squares, rows_by_slice
from edgelm.quant.matrix import formats
from edgelm.quant.matrix.curvature import Curvature, alignment, curvature
from edgelm.quant.matrix.formats import Packed
from edgelm.quant.matrix.gptq import fit
from edgelm.quant.streams.taps import Inputs, groups_of
from edgelm.zoo.tree import number

TIED_DAMPING = 1.0
"""Damping of the Hessian of a tied head: with 0.05 SmolLM2's embedding loses no less than by weighted search, with 1 a sixth
less."""

HESSIANS_BYTES = 1 << 30
"""Bytes of the Hessians of experts that are summed in one pass."""


class Sequential(Layerwise):
    """Quality "best": GPTQ on the inputs of the model quantized so far."""

    def layer(self, index: int) -> LayerResult:
        """Quantize layer `index`, and take both streams past it."""
        source = self.walk.load(index)
        weights = dict(source)
        result = LayerResult()
        groups = groups_of(self.caught(index, SOURCE, 0)[0])
        for group in groups:
            weights.update(self._group(index, group, source, weights, result, is_last=group is groups[-1]))
        for path in self.modules[index]:
            if f"{path}.weight" not in result.arrays:  # no calibration text reached it
                packed = self.search(result, path, self._stored(path, source))
                weights[f"{path}.weight"] = formats.dequantized(packed, self.settings[path])
        if not groups:
            self.walk.advance(index, SOURCE)
        self._advance(index, weights)
        return result

    def replay(self, index: int, done: LayerResult) -> None:
        """Take both streams past a layer that was quantized before."""
        weights = self.walk.load(index)
        self.walk.advance(index, SOURCE)
        for path in self.modules[index]:
            weights[f"{path}.weight"] = formats.dequantized(done.packed(path), self.settings[path])
        self._advance(index, weights)

    def _advance(self, index: int, weights: dict[str, mx.array]) -> None:
        self.walk.use(weights)
        self.walk.advance(index, QUANTIZED)
        self.walk.unload(index)

    def _stored(self, path: str, source: dict[str, mx.array]) -> mx.array:
        return source[f"{path}.weight"].astype(self.walk.read_dtype(f"{path}.weight"))

    def _group(
        self, index: int, group: list[str], source: dict[str, mx.array], weights: dict[str, mx.array],
        result: LayerResult, *, is_last: bool,
    ) -> dict[str, mx.array]:  # fmt: skip
        """Quantize modules that share their input; returns their weights as they are now.

        What reaches them went through those before them in the layer as these are by now, quantized.
        """
        weight, first = source[f"{group[0]}.weight"], group[0]
        if weight.ndim == 2 and self.are_affine(group):
            products = Products.zero(weight.shape[1])
            for given, wanted in self._inputs(index, first, source, weights, is_last=is_last):
                products.add(given.rows, wanted.rows)
            return self._fitted(group, source, products, result)
        squares = Squares.zero(weight.shape)
        for given, _ in self._inputs(index, first, source, weights, is_last=is_last):
            squares.add(given)
        return self._stack(index, group, source, squares, result)

    def _inputs(
        self,
        index: int,
        path: str,
        source: dict[str, mx.array],
        weights: dict[str, mx.array],
        *,
        is_last: bool,
    ) -> Iterator[tuple[Inputs, Inputs]]:
        """What each call of a module gets in the quantized stream, and in the source's at the same tokens.

        Only what leads to it is computed, arrays being lazy. Leaves `weights` in the network. With
        `is_last` the source's hidden states are taken past the layer.
        """
        for batch in range(len(self.walk.batches)):
            self.walk.use(source)
            wanted, returned = self.caught(index, SOURCE, batch)
            self.walk.use(weights)
            given, _ = self.caught(index, QUANTIZED, batch)
            yield from ((one, other) for one, other in zip(given, wanted, strict=True) if one.path == path)
            if is_last:
                self.walk.keep(index, SOURCE, batch, returned)

    def _fitted(
        self, group: list[str], source: dict[str, mx.array], products: Products, result: LayerResult
    ) -> dict[str, mx.array]:
        """GPTQ of matrices that share their input."""
        bent, move = curvature(products.hessian), alignment(products.hessian, products.cross)
        weights = {}
        for path in group:
            packed = self._fit(result, path, self._stored(path, source), bent, products.rows, move)
            weights[f"{path}.weight"] = formats.dequantized(packed, self.settings[path])
        return weights

    def _stack(
        self, index: int, group: list[str], source: dict[str, mx.array], squares: Squares, result: LayerResult
    ) -> dict[str, mx.array]:
        """Experts or heads (or block formats): GPTQ for those that enough tokens reach, else weighted search.

        No alignment: the source may have sent other tokens to an expert.
        """
        parts = {path: self._searched(path, source, squares) for path in group}
        rich = self._rich(group, source, squares)
        columns = source[f"{group[0]}.weight"].shape[-1]
        step = max(1, HESSIANS_BYTES // (4 * columns * columns))
        for start in range(0, len(rich), step):
            for slot, hessian in self._hessians(index, group[0], rich[start : start + step], columns).items():
                bent = curvature(hessian)
                for path in group:
                    self.on_module(f"{path}[{slot}]")
                    weight, settings = source[f"{path}.weight"][slot], self.settings[path]
                    dtype = self.walk.read_dtype(f"{path}.weight")
                    fitted = fit(weight, bent, settings["bits"], settings["group_size"], dtype)
                    parts[path][slot] = fitted.packed()
        return {
            f"{path}.weight": self._joined(path, parts[path], source[f"{path}.weight"], squares, rich, result)
            for path in group
        }

    def _rich(self, group: list[str], source: dict[str, mx.array], squares: Squares) -> list[int]:
        """The slices of a stack that enough tokens reach for a Hessian."""
        if source[f"{group[0]}.weight"].ndim == 2 or not self.are_affine(group):
            return []
        counts: Any = squares.rows.tolist()
        return [slot for slot, count in enumerate(counts) if count >= MIN_EXPERT_TOKENS]

    def _searched(self, path: str, source: dict[str, mx.array], squares: Squares) -> list[Packed]:
        """The weighted search of every slice; one, if the weight is no stack."""
        self.on_module(path)
        stored = self._stored(path, source)
        packed = formats.searched(stored, self.settings[path], squares.importance())
        if stored.ndim == 2:
            return [packed]
        return [{kind: array[slot] for kind, array in packed.items()} for slot in range(stored.shape[0])]

    def _hessians(self, index: int, path: str, slots: list[int], columns: int) -> dict[int, mx.array]:
        sums = {slot: mx.zeros((columns, columns)) for slot in slots}
        for batch in range(len(self.walk.batches)):
            for inputs in self.caught(index, QUANTIZED, batch)[0]:
                if inputs.path == path:
                    for slot, rows in rows_by_slice(inputs, slots).items():
                        sums[slot] = sums[slot] + rows.T @ rows
            mx.eval(sums)
        return sums

    def _joined(
        self, path: str, parts: list[Packed], weight: mx.array, squares: Squares, rich: list[int],
        result: LayerResult,
    ) -> mx.array:  # fmt: skip
        is_stack = weight.ndim == 3
        packed = (
            {kind: mx.stack([part[kind] for part in parts]) for kind in parts[0]} if is_stack else parts[0]
        )
        unpacked = formats.dequantized(packed, self.settings[path])
        importance = squares.importance()
        error = None if importance is None else share(importance, unpacked - weight, weight)
        method = (
            f"gptq of {len(rich)} slices in {len(parts)}, else weighted search" if rich else "weighted search"
        )
        result.add(packed, ModuleOutcome(path, method, squares.tokens, error))
        return unpacked

    def head(self, result: LayerResult, path: str, weight: mx.array) -> None:
        """Quantize the output head, `weight` [V, C] as stored, on what reaches it after the last layer."""
        if not self.are_affine([path]):
            self.search(result, path, weight, self.head_importance(QUANTIZED)[1], self.tokens)
            return
        products = Products.zero(weight.shape[1])
        for given, wanted in zip(self.head_inputs(QUANTIZED), self.head_inputs(SOURCE), strict=True):
            products.add(given.rows, wanted.rows)
        move = alignment(products.hessian, products.cross)
        self._fit(result, path, weight, curvature(products.hessian), products.rows, move)

    def tied_head(self, result: LayerResult, path: str, weight: mx.array, hessian: mx.array) -> None:
        """Quantize an embedding [V, C] that is the head as well, before anything that stands on it.

        As a head its error is measured by `hessian`, as an embedding by the plain square: the damping.
        """
        if not self.are_affine([path]):
            self.search(result, path, weight, mx.diag(hessian), self.tokens)
        else:
            self._fit(result, path, weight, curvature(hessian, TIED_DAMPING), self.tokens, None)

    def _fit(
        self, result: LayerResult, path: str, weight: mx.array, bent: Curvature, tokens: int,
        move: mx.array | None,
    ) -> Packed:  # fmt: skip
        """GPTQ of one matrix, as stored; adds to `result`. Its error is from the outputs that `move` asks for."""
        self.on_module(path)
        settings = self.settings[path]
        fitted = fit(weight, bent, settings["bits"], settings["group_size"], weight.dtype, move=move)
        packed = fitted.packed()
        error = number(fitted.loss.sum() / bent.loss(weight.astype(mx.float32)).sum())
        result.add(packed, ModuleOutcome(path, "gptq", tokens, error))
        return packed
