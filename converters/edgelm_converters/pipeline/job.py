"""One conversion under way: what is asked for, of what, and where it is being made."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgelm.progress import OnProgress
from edgelm.quant.scheme import Settings
from edgelm.zoo.guards import mlx_lm_errors
from edgelm.zoo.network import build_network
from edgelm.zoo.tree import flat_parameters
from edgelm.zoo.weights.buffers import buffers_in
from edgelm.zoo.weights.network import packed_as
from edgelm_converters.conversion import CALIBRATION_TOKENS, Conversion
from edgelm_converters.estimate import OnEstimate
from edgelm_converters.methods.layer_files import work_directory
from edgelm_converters.methods.task import QuantizationTask, TextRequest
from edgelm_converters.pipeline.sanitize import sanitized
from edgelm_converters.sources.checkpoint import LazyTensor, SourceCheckpoint
from edgelm_converters.stopwatch import Stopwatch
from edgelm_converters.targets.mlx.plan import OutputPlan

PackedModules = Mapping[str, Settings]
"""Module path → how the source has it packed."""


@dataclass(frozen=True)
class ConversionJob:
    """Passed from step to step; `settled` and `rounding` are how a step changes what is asked for."""

    checkpoint: SourceCheckpoint
    config: dict[str, Any]
    """Normalised."""
    wanted: Conversion
    directory: Path
    """The model under way, under a name of its own until it is whole."""
    target: Path
    """The name that it gets then."""
    source_hashes: Future[dict[str, str]]
    """SHA-256 by file name, being computed beside the rest."""
    on_progress: OnProgress
    on_estimate: OnEstimate
    """Called with what a long step will take, before it starts."""
    notes: list[str] = field(default_factory=list)
    """What was found in the source that the receipt is to say."""
    dropped: dict[str, None] = field(default_factory=dict)
    """The source's tensors that the architecture leaves out, in order."""
    requantized: dict[str, Settings] = field(default_factory=dict)
    """The network's modules that the source has in a form MLX cannot hold, and what they are quantized to instead."""
    watch: Stopwatch = field(default_factory=Stopwatch)
    """Runs since the conversion was asked for."""
    rounded_because: str | None = None
    """Why weights are rounded to nearest where the default is to calibrate."""

    @property
    def stage(self) -> Path:
        """A directory for tensors that must be copied before they can be computed with."""
        return self.directory / ".stage"

    def settled(self, plan: OutputPlan) -> ConversionJob:
        """Settle on the quality that the layers of `plan` get."""
        layers = plan.quantize.values()
        if self.requantized and self.wanted.keeps_packed:
            return replace(self, wanted=self.wanted.settled_as_precise(layers))
        return replace(self, wanted=self.wanted.settled(layers))

    def rounding(self, because: str) -> ConversionJob:
        """Round weights to nearest after all, and remember why."""
        return replace(self, wanted=self.wanted.rounding(), rounded_because=because)

    def task(self, plan: OutputPlan) -> QuantizationTask:
        """Ask for the quantization of `plan`, as it was wanted."""
        wanted = self.wanted
        tokens, seed = wanted.calibration_tokens, wanted.seed
        return QuantizationTask(
            plan=plan,
            config=self.config,
            open_source=self.fresh,
            source_hashes=self.source_hashes,
            directory=self.directory,
            stage=self.stage,
            work=work_directory(self.target),
            text=TextRequest(
                path=Path(wanted.calibration).expanduser() if wanted.calibration is not None else None,
                tokens=CALIBRATION_TOKENS if tokens is None else tokens,
                seed=0 if seed is None else seed,
            ),
            distill_steps=wanted.distill,
            was_quantized=bool(self.requantized) and wanted.keeps_packed,
            loss_tokens=wanted.measured_tokens,
            on_progress=self.on_progress,
            on_estimate=self.on_estimate,
            watch=self.watch,
        )

    def network(self) -> Any:
        """Build a fresh unquantized network; it costs no memory until it is evaluated."""
        return build_network(self.config, self.checkpoint.origin.files[0].parent)

    def inputs(self, network: Any) -> tuple[Mapping[str, LazyTensor], PackedModules]:
        """Give the source's tensors under the names of `network`, and the modules that are packed in it.

        `network` must be fresh: some architectures' `sanitize` changes it (drops an unused head).
        """
        source, is_native = self.checkpoint, "quantization" in self.config
        foreign = {} if is_native else source.quantization
        # An architecture stacks experts by name: one that is missing, or of another shape, fails in there.
        with mlx_lm_errors(self.stage, shown=source.origin.source):
            renamed = sanitized(
                network, source.tensors, self.stage, self.network, foreign, source.requantized
            )
            packed = self._packed(network, renamed.tensors) if is_native else renamed.packed
        buffers = buffers_in(renamed.tensors, flat_parameters(network))
        buffers = [name for name in buffers if name.rpartition(".")[0] not in packed]
        self.dropped.update(dict.fromkeys([*renamed.dropped, *buffers]))
        self.requantized.update(renamed.requantized)
        return {name: tensor for name, tensor in renamed.tensors.items() if name not in buffers}, packed

    def _packed(self, network: Any, tensors: Mapping[str, LazyTensor]) -> PackedModules:
        """How modules are packed: as the config says of each, else as their shapes do, which is how they are loaded."""
        named, modules = self.config.get("quantization") or {}, dict(network.named_modules())
        return {
            path: settings
            if path in named or path not in modules
            else packed_as(path, modules[path], tensors)
            for path, settings in self.checkpoint.quantization.items()
        }

    def fresh(self) -> tuple[Any, Mapping[str, LazyTensor], PackedModules]:
        """Open the source anew for a fresh network: `edgelm_converters.weights.source_weights.Inputs`."""
        network = self.network()
        tensors, packed = self.inputs(network)
        return network, tensors, packed
