"""The calibrated qualities: every layer of a plan quantized on calibration text, before anything is written.

The embedding first where it is also the head (its weights then matter as the final norm's outputs weigh them,
which takes a pass of the source to learn), the layers in order, the head last. Each finished part goes to
disk at once; run again, finished parts are read back and the streams are only taken past them, which gives the
same bits as never having stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.progress import OnProgress
from edgelm.quant.layers.layerwise import QUANTIZED, SOURCE, LayerResult, Layerwise, ModuleOutcome
from edgelm.quant.layers.sequential import Sequential
from edgelm.quant.layers.weighted import Weighted
from edgelm.quant.matrix import formats
from edgelm.quant.streams.activations import Activations
from edgelm.quant.streams.walk import StandIn, Walk
from edgelm_converters.clock import Clock
from edgelm_converters.methods.layer_files import LayerFiles
from edgelm_converters.weights.source_weights import SourceWeights

Settings = dict[str, Any]

BATCH_ROWS = 4
"""Rows of calibration text that are run at once."""

TASK = "Calibrating"

OnHead = Callable[[LayerResult, str, mx.array], object]
"""Quantizes the module at a path, of that weight, into the result."""


@dataclass
class Calibration:
    """What to calibrate with."""

    weights: SourceWeights
    settings: Mapping[str, Settings]
    """Module path → what it becomes."""
    rows: Sequence[Sequence[int]]
    files: LayerFiles
    spill: Path
    """A directory for hidden states beyond the budget."""
    activations_bytes: int
    """Of hidden states to hold in memory."""
    on_progress: OnProgress
    outcomes: list[ModuleOutcome] = field(default_factory=list)
    afterwards: Callable[[Walk], None] | None = None
    """Called at the end, while the source's last hidden states are still kept."""


def calibrate(job: Calibration, *, sequential: bool) -> list[ModuleOutcome]:
    """Quantize every module of `job.settings` into `job.files`; what became of each, in order.

    Raises:
        UnsupportedError: the architecture cannot be run layer by layer.
    """
    network = job.weights.network
    network.eval()
    walk = Walk(network, job.weights, in_batches(job.rows), Activations(job.activations_bytes, job.spill))
    clock = Clock(TASK, job.on_progress, len(walk.layers) + 1)
    walk.load(None)
    walk.check()
    run = _Run(job, walk, clock)
    outcomes = run.best() if sequential else run.good()
    if job.afterwards is not None:
        job.afterwards(walk)
    return outcomes


def in_batches(rows: Sequence[Sequence[int]]) -> list[mx.array]:
    """Rows of ids as a walk takes them, [B, T] each."""
    return [
        mx.array([list(row) for row in rows[start : start + BATCH_ROWS]], dtype=mx.uint32)
        for start in range(0, len(rows), BATCH_ROWS)
    ]


class _Run:
    """One calibration under way."""

    def __init__(self, job: Calibration, walk: Walk, clock: Clock) -> None:
        self.job, self.walk, self.clock = job, walk, clock

    def good(self) -> list[ModuleOutcome]:
        """Every weight searched under what the source's text does, in one pass."""
        method = Weighted(self.walk, self.job.settings, self.clock.at)
        self.walk.begin(SOURCE)
        self._layers(method.layer, lambda index, _: self.walk.pass_by(index, [SOURCE]))
        head, importance = method.head_importance(SOURCE)
        self._outer(method, head, partial(method.search, importance=importance, tokens=method.tokens))
        self.clock.part_done()
        return self.job.outcomes

    def best(self) -> list[ModuleOutcome]:
        """GPTQ layer by layer on the quantized model's own inputs."""
        method = Sequential(self.walk, self.job.settings, self.clock.at)
        head = self.walk.head
        is_tied = head in method.outer and head in self.walk.embeddings
        later = [] if is_tied or head is None else [head]
        embedded = self._outer(method, head, partial(self._tied, method), without=later)
        self.walk.begin(SOURCE)
        self.walk.begin(QUANTIZED, self._stand_ins(embedded))
        self._layers(method.layer, method.replay)
        for path in later:
            if path in self.job.settings:
                self._head(method, path)
        self.clock.part_done()
        return self.job.outcomes

    def _layers(
        self, quantize: Callable[[int], LayerResult], pass_by: Callable[[int, LayerResult], None]
    ) -> None:
        """Every layer in order: quantized and kept, or, where an earlier run did that, only passed by."""
        for index in range(len(self.walk.layers)):
            kept = self.job.files.get(_part(index))
            if kept is None:
                done = quantize(index)
                self.job.files.put(_part(index), done)
            else:
                done = kept
                pass_by(index, done)
            self.clock.part_done(resumed=kept is not None)
            self.job.outcomes += done.outcomes

    def _outer(
        self, method: Layerwise, head: str | None, as_head: OnHead, without: Sequence[str] = ()
    ) -> LayerResult:
        """What lies outside the layers (embeddings, heads), searched; the head by `as_head`."""
        result = self.job.files.get("outer")
        if result is None:
            result = LayerResult()
            for path in method.outer:
                if path not in without:
                    quantize = as_head if path == head else method.search
                    quantize(result, path, self.job.weights(f"{path}.weight"))
            self.job.files.put("outer", result)
        self.job.outcomes += result.outcomes
        return result

    def _tied(self, method: Sequential, result: LayerResult, path: str, weight: mx.array) -> None:
        """An embedding that is the head too, under what the final norm gives the head: a pass of the source alone."""
        self.clock.at("what reaches the head")
        self.walk.begin(SOURCE)
        self.walk.carry([SOURCE])
        found = method.head_hessian(SOURCE)
        assert found is not None  # the head is known by what reached it
        method.tied_head(result, path, weight, found[1])

    def _stand_ins(self, outer: LayerResult) -> dict[str, StandIn]:
        """What the quantized model computes with in place of the embeddings and linear layers of `outer`."""
        found: dict[str, StandIn] = {}
        for path in (outcome.path for outcome in outer.outcomes):
            packed, settings = outer.packed(path), self.job.settings[path]
            if path in self.walk.embeddings:
                found[path] = formats.lookup(packed, settings)
            else:
                name = f"{path}.bias"
                bias = self.job.weights(name) if name in self.walk.outside else None
                found[path] = formats.multiplication(packed, settings, bias)
        return found

    def _head(self, method: Sequential, path: str) -> None:
        """The head of an untied model: GPTQ on what the final norm of the quantized model gives it."""
        result = self.job.files.get("head")
        if result is None:
            result = LayerResult()
            method.head(result, path, self.job.weights(f"{path}.weight"))
            self.job.files.put("head", result)
        self.job.outcomes += result.outcomes


def _part(index: int) -> str:
    return f"layer-{index:04}"
