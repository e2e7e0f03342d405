"""The passes of calibration over a network's layers: each finished part goes to disk at once.

Run again, finished parts are read back and the streams are only taken past them, which gives the same bits as never
having stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import mlx.core as mx

from edgelm.progress import OnProgress
from edgelm.quant.layers.layerwise import LayerResult, Layerwise, ModuleOutcome
from edgelm.quant.matrix import formats
from edgelm.quant.scheme import Settings
from edgelm.quant.streams.activations import Activations
from edgelm.quant.streams.visits import StandIn
from edgelm.quant.streams.walk import Walk
from edgelm_converters.clock import Clock
from edgelm_converters.methods.layer_files import LayerFiles
from edgelm_converters.weights.source_weights import SourceWeights

BATCH_ROWS = 4
"""Rows of calibration text that are run at once."""

TASK = "Calibrating"

QuantizeOuter = Callable[[LayerResult, str, mx.array], object]
"""Quantizes the module at a path, of that weight, into the result."""


def in_batches(rows: Sequence[Sequence[int]]) -> list[mx.array]:
    """Stack rows of ids as a walk takes them, [B, T] each."""
    return [
        mx.array([list(row) for row in rows[start : start + BATCH_ROWS]], dtype=mx.uint32)
        for start in range(0, len(rows), BATCH_ROWS)
    ]


class CalibrationRun:
    """One calibration under way; a method calls `quantize_…` for what it has come to.

    Args:
        settings: module path → what it becomes.
        rows: token ids of the calibration text.
        activations_bytes: bytes of hidden states to hold in memory; what is beyond them goes to disk.

    Raises:
        UnsupportedError: the architecture cannot be run layer by layer.
    """

    def __init__(
        self, weights: SourceWeights, settings: Mapping[str, Settings], rows: Sequence[Sequence[int]],
        files: LayerFiles, *, activations_bytes: int, on_progress: OnProgress,
    ) -> None:  # fmt: skip
        self.weights, self.settings, self.files = weights, settings, files
        weights.network.eval()
        spill = files.directory / "activations"
        self.walk = Walk(weights.network, weights, in_batches(rows), Activations(activations_bytes, spill))
        self.clock = Clock(TASK, on_progress, len(self.walk.layers) + 1)
        self.outcomes: list[ModuleOutcome] = []
        self.walk.load(None)
        self.walk.check()

    def quantize_layers(
        self, quantize: Callable[[int], LayerResult], pass_by: Callable[[int, LayerResult], None]
    ) -> None:
        """Quantize and keep every layer in order, or only `pass_by` those that an earlier run has finished."""
        for index in range(len(self.walk.layers)):
            part = f"layer-{index:04}"
            kept = self.files.get(part)
            if kept is None:
                result = quantize(index)
                self.files.put(part, result)
            else:
                result = kept
                pass_by(index, result)
            self.clock.part_done(resumed=kept is not None)
            self.outcomes += result.outcomes

    def quantize_outer(
        self, layers: Layerwise, head: str | None, as_head: QuantizeOuter, without: str | None = None
    ) -> LayerResult:
        """Search what lies outside the layers, embeddings and heads, but quantize the module `head` by `as_head`.

        Args:
            without: the path of a module that is left for later.
        """

        def quantize(result: LayerResult) -> None:
            for path in layers.outer:
                if path != without:
                    (as_head if path == head else layers.search)(result, path, self._weight(path))

        return self._part("outer", quantize)

    def quantize_head(self, path: str, quantize: QuantizeOuter) -> None:
        """Quantize the output head at `path`, after the layers."""
        self._part("head", lambda result: quantize(result, path, self._weight(path)))

    def stand_ins(self, outer: LayerResult) -> dict[str, StandIn]:
        """Compute with the quantized embeddings and linear layers of `outer`: path → in place of the source's."""
        stand_ins: dict[str, StandIn] = {}
        for path in (outcome.path for outcome in outer.outcomes):
            packed, settings = outer.packed(path), self.settings[path]
            if path in self.walk.embeddings:
                stand_ins[path] = formats.lookup(packed, settings)
            else:
                name = f"{path}.bias"
                bias = self.weights(name) if name in self.walk.outside else None
                stand_ins[path] = formats.multiplication(packed, settings, bias)
        return stand_ins

    def _part(self, name: str, quantize: Callable[[LayerResult], object]) -> LayerResult:
        """The finished part `name`, made by `quantize` unless an earlier run has made it."""
        result = self.files.get(name)
        if result is None:
            result = LayerResult()
            quantize(result)
            self.files.put(name, result)
        self.outcomes += result.outcomes
        return result

    def _weight(self, path: str) -> mx.array:
        return self.weights(f"{path}.weight")
