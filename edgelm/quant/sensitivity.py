"""What each tensor alone adds to the divergence from the source, measured once and good for every budget.

All tensors are measured in one walk through the layers: at its layer each tensor starts a stream of its own, in which
it alone is quantized, and every stream is carried to the logits. That is one divergence per tensor, at one width.
Other widths scale it by the weighted error of the tensor's weights: to second order a small perturbation's
divergence is proportional to its energy. Embeddings and heads, the largest tensors, are measured at every width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm.quant import formats
from edgelm.quant.apply import quantizable
from edgelm.quant.formats import Packed, Settings
from edgelm.quant.layerwise import SOURCE, Layerwise
from edgelm.quant.moments import Squares
from edgelm.quant.search import QUICK
from edgelm.quant.tree import number
from edgelm.quant.walk import Walk

MEASURED_BITS, MEASURED_GROUP = 3, 64
OUTER_BITS = (2, 3, 4, 6, 8)
"""Widths at which embeddings and heads are measured."""

SAMPLED_ROWS = 256
"""Rows of a weight that tell how its error changes with the width."""

WIDTHS = (
    (2, 128), (2, 64), (2, 32), (3, 128), (3, 64), (3, 32), (4, 128), (4, 64), (4, 32), (5, 64), (6, 64), (8, 64),
)  # fmt: skip
"""(bits, group size) that a budget may choose from."""


@dataclass(frozen=True)
class Sensitivity:
    """Of one tensor."""

    kl: dict[int, float]
    """Bits, in groups of 64 (or what its rows allow) → mean KL in nats with this tensor alone quantized."""
    errors: dict[str, float]
    """"bits/group" → weighted relative error of its weights."""

    def expected_kl(self, bits: int, group_size: int, measured_group: int) -> float:
        """What (bits, group size) is expected to cost: scaled from the nearest measured width."""
        nearest = min(self.kl, key=lambda width: (abs(width - bits), width))
        reference = self.errors[f"{nearest}/{measured_group}"]
        return self.kl[nearest] * self.errors[f"{bits}/{group_size}"] / max(reference, 1e-30)


def group_for(columns: int, group_size: int = MEASURED_GROUP) -> int:
    """The largest group up to `group_size` that divides rows of `columns`; 0 if none does."""
    return next((group for group in (128, 64, 32) if group <= group_size and columns % group == 0), 0)


class Sensitivities(Layerwise):
    """Measures the tensors of `settings` (only their paths matter) on the walk's batches."""

    def __init__(
        self, walk: Walk, settings: Mapping[str, Settings], on_layer: Callable[[int, str], None]
    ) -> None:
        super().__init__(walk, settings, lambda _: None)
        self._on_layer = on_layer
        self._found: dict[str, Sensitivity] = {}

    def measure(self) -> dict[str, Sensitivity]:
        """Path → sensitivity. The outer parameters must be loaded."""
        walk = self.walk
        walk.begin(SOURCE)
        variants = {
            f"{path}@{bits}": self._outer_variant(path, bits) for path in self.outer for bits in OUTER_BITS
        }
        for name, (path, settings, packed) in variants.items():
            looked_up = {path: formats.lookup(packed, settings)} if path in walk.embeddings else {}
            walk.begin(name, looked_up)
        streams = list(variants)
        for index in range(len(walk.layers)):
            streams += self._layer(index, streams)
        kl = self._divergences(streams, variants)
        head, importance = self.head_importance(SOURCE)
        for path in self.outer:
            errors = self._errors(walk.read(f"{path}.weight"), importance if path == head else None)
            self._found[path] = Sensitivity({bits: kl[f"{path}@{bits}"] for bits in OUTER_BITS}, errors)
        for path in self._found:
            if path in kl:
                self._found[path].kl[MEASURED_BITS] = kl[path]
        return self._found

    def _outer_variant(self, path: str, bits: int) -> tuple[str, Settings, Packed]:
        weight = self.walk.read(f"{path}.weight")
        settings = _affine(bits, group_for(weight.shape[-1]))
        return path, settings, formats.searched(weight, settings, effort=QUICK)

    def _layer(self, index: int, streams: list[str]) -> list[str]:
        """Take the source and all `streams` past layer `index`; returns the streams that begin here."""
        walk = self.walk
        parameters = walk.load(index)
        squares: dict[str, Squares] = {}
        for batch in range(len(walk.batches)):
            for inputs in self.caught(index, SOURCE, batch)[0]:
                weight = parameters[f"{inputs.path}.weight"]
                squares.setdefault(inputs.path, Squares.zero(weight.shape)).add(inputs)
        begun = []
        for path in self.modules[index]:
            self._on_layer(index, path)
            weight = parameters[f"{path}.weight"]
            importance = squares[path].importance() if path in squares else None
            settings = _affine(MEASURED_BITS, group_for(weight.shape[-1]))
            made = formats.dequantized(formats.searched(weight, settings, importance, QUICK), settings)
            walk.use({f"{path}.weight": made})
            for batch in range(len(walk.batches)):
                returned = walk.run(index, SOURCE, batch)
                walk.keep(index, path, batch, returned, before=SOURCE)
            walk.use({f"{path}.weight": weight})
            self._found[path] = Sensitivity({}, self._errors(weight, importance))
            begun.append(path)
        for stream in (*streams, SOURCE):
            walk.advance(index, stream)
        walk.unload(index)
        return begun

    def _errors(self, weight: mx.array, importance: mx.array | None) -> dict[str, float]:
        """Weighted relative error of a sample of the rows at every width."""
        if weight.ndim == 3:
            weight, importance = (
                weight[0],
                None if importance is None else importance.reshape(-1, weight.shape[-1])[0],
            )
        step = max(1, weight.shape[0] // SAMPLED_ROWS)
        rows = weight[::step].astype(mx.float32)
        weights = mx.ones((weight.shape[1],)) if importance is None else importance
        whole = (weights * rows * rows).sum()
        found = {}
        for bits, group in (*WIDTHS, *((b, group_for(weight.shape[1])) for b in OUTER_BITS)):
            if group and weight.shape[1] % group == 0 and f"{bits}/{group}" not in found:
                settings = _affine(bits, group)
                made = formats.dequantized(formats.searched(rows, settings, importance, QUICK), settings)
                found[f"{bits}/{group}"] = number((weights * mx.square(made - rows)).sum() / whole)
        return found

    def _divergences(
        self, streams: Sequence[str], variants: Mapping[str, tuple[str, Settings, Packed]]
    ) -> dict[str, float]:
        """Mean KL of every stream's predictions; a variant also has its outer tensor in its place."""
        walk = self.walk
        totals, tokens = dict.fromkeys(streams, 0.0), 0
        for batch in range(len(walk.batches)):
            expected = _log_probabilities(walk.logits(SOURCE, batch))
            mx.eval(expected)
            tokens += expected.shape[0] * expected.shape[1]
            for stream in streams:
                self._on_layer(len(walk.layers), stream)
                totals[stream] += self._divergence(expected, stream, batch, variants.get(stream))
        return {stream: max(total / tokens, 0.0) for stream, total in totals.items()}

    def _divergence(
        self, expected: mx.array, stream: str, batch: int, variant: tuple[str, Settings, Packed] | None
    ) -> float:
        """Summed over the tokens of one batch."""
        walk = self.walk
        own: dict[str, mx.array] = {}
        if variant is not None:
            path, settings, packed = variant
            own = {f"{path}.weight": walk.read(f"{path}.weight")}
            walk.use({f"{path}.weight": formats.dequantized(packed, settings)})
        found = _log_probabilities(walk.logits(stream, batch))
        total = number((mx.exp(expected) * (expected - found)).sum())
        walk.use(own)
        return total


def movable_layers(network: Any, settings: Mapping[str, Settings]) -> dict[str, Settings]:
    """The tensors a budget may choose for: affine, in groups that their rows allow."""
    modules = quantizable(network)
    return {
        path: said
        for path, said in settings.items()
        if said.get("mode", "affine") == "affine" and group_for(modules[path].weight.shape[-1], 128)
    }


def _affine(bits: int, group_size: int) -> Settings:
    return {"group_size": group_size, "bits": bits, "mode": "affine"}


def _log_probabilities(logits: mx.array) -> mx.array:
    logits = logits.astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)
