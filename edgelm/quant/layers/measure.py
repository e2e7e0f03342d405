"""Measuring what each tensor alone adds to the divergence from the source, in one walk.

At its layer each tensor starts a stream of its own, in which it alone is quantized, and the streams of a layer are carried
to the logits together. That is one divergence per tensor, at one width. Nothing of a layer is needed after it, so that
a walk which was stopped goes on at the layer it had come to. Embeddings and heads, the largest tensors, are measured at
several widths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import mlx.core as mx

from edgelm.quant.layers.layerwise import SOURCE, Layerwise, OnModule
from edgelm.quant.layers.moments import Products, Squares
from edgelm.quant.layers.sensitivity import (
    MEASURED_BITS,
    OUTER_BITS,
    WIDTHS,
    Sensitivity,
    affine,
    group_for,
)
from edgelm.quant.layers.sequential import TIED_DAMPING
from edgelm.quant.matrix import formats
from edgelm.quant.matrix.curvature import DAMPING, Curvature, curvature
from edgelm.quant.matrix.gptq import fit
from edgelm.quant.matrix.search import QUICK, column_weights
from edgelm.quant.scheme import Settings
from edgelm.quant.streams.taps import groups_of
from edgelm.quant.streams.walk import Walk
from edgelm.zoo.tree import number

SAMPLED_ROWS = 256
"""Rows of a weight that tell how its error changes with the width."""


@dataclass(frozen=True)
class _Reached:
    """What the text gives modules that share their input."""

    importance: mx.array | None = None
    """E[x²] up to a factor, [C] or [E, C]; None: nothing reaches them."""
    curvature: Curvature | None = None
    """None: they are searched, not put through GPTQ."""

    @classmethod
    def of(cls, hessian: mx.array, damping: float) -> _Reached:
        bent = curvature(hessian, damping)
        return cls(bent.importance, bent)


OnPart = Callable[[Mapping[str, Sensitivity], bool], None]
"""Called with all that was found by then after every part, a layer or a width of a tensor outside the layers, and with
whether that part was known before."""

FINAL = "final"
"""The stream of the source's hidden states after its last layer, of the sample."""


class Sensitivities(Layerwise):
    """Measures the tensors of `movable`.

    Args:
        sampled: of the walk's batches, the first so many tell how far predictions move; the others, what a tensor
            meets.
        sequential: tensors are perturbed by GPTQ, as quality "best" quantizes them, and not by weighted search.
        known: what an earlier walk over the same has found, which is not measured again.
    """

    def __init__(
        self, walk: Walk, movable: Sequence[str], *, sampled: int, sequential: bool,
        known: Mapping[str, Sensitivity] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(walk, {path: {} for path in movable}, lambda _: None)
        self._sequential, self._found = sequential, dict(known or {})
        self._sample = range(sampled)
        self._text = range(sampled, len(walk.batches))

    @property
    def parts(self) -> int:
        """How often `measure` calls `on_part`."""
        return len(self.walk.layers) + len(self.outer) * len(OUTER_BITS)

    def measure(
        self, on_module: OnModule = lambda _: None, on_part: OnPart = lambda *_: None
    ) -> dict[str, Sensitivity]:
        """Measure path → sensitivity. The outer parameters must be loaded."""
        walk, self.on_module = self.walk, on_module
        walk.begin(FINAL, batches=self._sample)
        walk.carry([FINAL], self._sample)
        walk.begin(SOURCE)
        for index, modules in enumerate(self.modules):
            is_known = all(path in self._found for path in modules)
            if is_known:
                walk.pass_by(index, [SOURCE])
            else:
                self._found.update(self._layer(index))
            on_part(self._found, is_known)
        head, reaching_head = self._reaching_head()
        for path in self.outer:
            self._outer(path, reaching_head if path == head else _Reached(), on_part, is_head=path == head)
        return {path: self._found[path] for path in self.settings if path in self._found}

    def _layer(self, index: int) -> dict[str, Sensitivity]:
        """The tensors of layer `index`, which the source is taken past."""
        walk = self.walk
        parameters = walk.load(index)
        errors: dict[str, dict[str, float]] = {}
        for group, reached in self._reaching(index, parameters):
            for path in group:
                self.on_module(path)
                weight = parameters[f"{path}.weight"]
                settings = affine(MEASURED_BITS, group_for(weight.shape[-1]))
                stored = weight.astype(walk.read_dtype(f"{path}.weight"))
                walk.use({f"{path}.weight": self._perturbed(stored, settings, reached)})
                for batch in self._sample:
                    walk.keep(index, path, batch, walk.run(index, SOURCE, batch), before=SOURCE)
                walk.use({f"{path}.weight": weight})
                errors[path] = self._errors(weight, reached.importance)
        walk.advance(index, SOURCE, self._sample)
        walk.unload(index)
        self.on_module(f"what follows from {walk.paths[index]}")
        walk.carry(list(errors), self._sample, first=index + 1)
        kl = self._divergences(list(errors))
        return {path: Sensitivity({MEASURED_BITS: kl[path]}, errors[path]) for path in errors}

    def _reaching(
        self, index: int, parameters: Mapping[str, mx.array]
    ) -> Iterator[tuple[list[str], _Reached]]:
        """The modules of a layer, those that share their input together, with what the text gives them.

        Takes the source past the layer on all but the sample.
        """
        products: dict[str, Products] = {}
        squares: dict[str, Squares] = {}
        groups: list[list[str]] = []
        for batch in self._text:
            caught, returned = self.caught(index, SOURCE, batch)
            groups = groups or groups_of(caught)
            firsts = {group[0] for group in groups}
            for inputs in caught:
                if inputs.path not in firsts:
                    continue
                shape = parameters[f"{inputs.path}.weight"].shape
                if len(shape) == 2 and self._sequential:
                    products.setdefault(inputs.path, Products.zero(shape[1])).add(inputs.rows)
                else:
                    squares.setdefault(inputs.path, Squares.zero(shape)).add(inputs)
            self.walk.keep(index, SOURCE, batch, returned)
        for first, *others in groups:
            if first in products:
                yield [first, *others], _Reached.of(products.pop(first).hessian, DAMPING)
            else:
                yield [first, *others], _Reached(squares[first].importance())
        rest = [path for path in self.modules[index] if all(path not in group for group in groups)]
        if rest:
            yield rest, _Reached()

    def _reaching_head(self) -> tuple[str | None, _Reached]:
        """The path of the output head, and what the source gives it after its last layer."""
        if not self._sequential:
            path, importance = self.head_importance(SOURCE)
            return path, _Reached(importance)
        reaching = self.head_hessian(SOURCE)
        if reaching is None:
            return None, _Reached()
        path, hessian = reaching
        return path, _Reached.of(hessian, TIED_DAMPING if path in self.walk.embeddings else DAMPING)

    def _perturbed(self, weight: mx.array, settings: Settings, reached: _Reached) -> mx.array:
        """What `weight`, as stored, stands for when it is quantized."""
        if reached.curvature is not None:
            bits, group = settings["bits"], settings["group_size"]
            return fit(weight, reached.curvature, bits, group, weight.dtype, QUICK).weight
        return formats.dequantized(formats.searched(weight, settings, reached.importance, QUICK), settings)

    def _outer(self, path: str, reached: _Reached, on_part: OnPart, *, is_head: bool) -> None:
        """A tensor outside the layers, at every width."""
        weight = self.walk.read(f"{path}.weight")
        known = self._found.get(path)
        kl = dict(known.kl) if known is not None else {}
        errors = known.errors if known is not None else self._errors(weight, reached.importance)
        for bits in OUTER_BITS:
            is_known = bits in kl
            if not is_known:
                self.on_module(f"{path} at {bits} bits")
                kl[bits] = self._outer_divergence(path, weight, bits, reached, is_head=is_head)
                self._found[path] = Sensitivity(dict(kl), errors)
            on_part(self._found, is_known)

    def _outer_divergence(
        self, path: str, weight: mx.array, bits: int, reached: _Reached, *, is_head: bool
    ) -> float:
        """Mean KL with a tensor outside the layers quantized, wherever the tokens meet it: first, last, or both."""
        walk, stream, settings = self.walk, f"{path}@{bits}", affine(bits, group_for(weight.shape[-1]))
        changed, stand_ins = {}, {}
        if path in walk.embeddings and not is_head:
            # Such may be half of a model: it is kept packed.
            stand_ins[path] = formats.lookup(formats.searched(weight, settings, None, QUICK), settings)
        else:
            changed[f"{path}.weight"] = self._perturbed(weight, settings, reached)
        walk.use(changed)
        walk.begin(stream, stand_ins, self._sample)
        walk.carry([stream], self._sample)
        walk.use(dict.fromkeys(changed, weight))
        return self._divergences([stream], changed)[stream]

    def _divergences(
        self, streams: Sequence[str], changed: Mapping[str, mx.array] | None = None
    ) -> dict[str, float]:
        """Mean KL of the predictions of every stream, which is forgotten; `changed` lies outside the layers."""
        walk, totals, tokens = self.walk, dict.fromkeys(streams, 0.0), 0
        own = {name: walk.read(name) for name in changed or {}}
        for batch in self._sample:
            for row in range(walk.batches[batch].shape[0]):  # one by one: logits are large
                expected = _log_probabilities(walk.logits(FINAL, batch, row))
                probabilities = mx.exp(expected)
                mx.eval(expected, probabilities)
                tokens += expected.shape[0] * expected.shape[1]
                walk.use(changed or {})
                for stream in streams:
                    given = _log_probabilities(walk.logits(stream, batch, row))
                    totals[stream] += number((probabilities * (expected - given)).sum())
                walk.use(own)
        for stream in streams:
            walk.drop(stream)
        return {stream: max(total / tokens, 0.0) for stream, total in totals.items()}

    def _errors(self, weight: mx.array, importance: mx.array | None) -> dict[str, float]:
        """Weighted relative error of a sample of the rows at every width."""
        if weight.ndim == 3:
            weight, importance = (
                weight[0],
                None if importance is None else importance.reshape(-1, weight.shape[-1])[0],
            )
        step = max(1, weight.shape[0] // SAMPLED_ROWS)
        rows = weight[::step].astype(mx.float32)
        weights = column_weights(importance, weight.shape[1])
        whole = (weights * rows * rows).sum()
        errors = {}
        for bits, group in (*WIDTHS, *((b, group_for(weight.shape[1])) for b in OUTER_BITS)):
            if group and weight.shape[1] % group == 0 and f"{bits}/{group}" not in errors:
                settings = affine(bits, group)
                quantized = formats.dequantized(formats.searched(rows, settings, importance, QUICK), settings)
                errors[f"{bits}/{group}"] = number((weights * mx.square(quantized - rows)).sum() / whole)
        return errors


def _log_probabilities(logits: mx.array) -> mx.array:
    logits = logits.astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)
