"""What fusing adapters into a base loses, by KL divergence from base and adapters side by side."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map_with_path

from edgelm import device
from edgelm.adapters.use import AdapterUse
from edgelm.evaluate.compare import compare
from edgelm.evaluate.reference import Reference
from edgelm.evaluate.rows import Measuring, Row, held_out_rows
from edgelm.model.load import load
from edgelm.progress import OnProgress, Progress, ignore_progress
from edgelm.zoo.precision.dense import dequantize


@dataclass(frozen=True)
class FusedMeasure:
    """Compares a base and a fused network with the base and its adapters: the `measure` of `edgelm.adapters.fuse`."""

    measuring: Measuring = field(default_factory=lambda: Measuring(tokens=2048))
    """The text to compare on."""
    on_progress: OnProgress = ignore_progress

    def __call__(self, model: Path, uses: Sequence[AdapterUse], fused: Any) -> tuple[float, float]:
        """Return nats of mean KL divergence from base and adapters: of the base (learnt), of `fused` (lost)."""
        loaded = load(model, adapter=uses, check_fit=False, keep_range=True)
        rows: list[Row] = held_out_rows(loaded.tokenizer, self.measuring)
        with Reference(
            loaded.network, rows, on_progress=self._named("Running base and adapter")
        ) as reference:
            del loaded
            base = load(model, check_fit=False, keep_range=True)
            learnt = compare(reference, base.network, on_progress=self._named("Running the base"))
            del base
            mx.clear_cache()
            runnable = _runnable(fused)
            lost = compare(reference, runnable, on_progress=self._named("Running the fused model"))
        return learnt.mean_kl.value, lost.mean_kl.value

    def _named(self, task: str) -> OnProgress:
        return lambda report: self.on_progress(Progress(task, report.done, report.total, report.unit))


def _runnable(fused: Any) -> Any:
    """A copy for this machine's backend: on the CPU, float32 and unpacked."""
    machine = device.detect()
    if machine.backend != "cpu":
        return fused
    network = copy.deepcopy(fused)
    network.update(
        tree_map_with_path(
            lambda _, value: value.astype(mx.float32) if mx.issubdtype(value.dtype, mx.floating) else value,
            network.parameters(),
        )
    )
    dequantize(network, mx.float32)
    mx.eval(network.parameters())
    return network
