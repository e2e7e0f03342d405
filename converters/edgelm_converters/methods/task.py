"""What a conversion asks of a quantization method: the plan, the source, the text, and where work is kept."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.model.load import load_tokenizer
from edgelm.progress import OnProgress
from edgelm.zoo.configs.normalise import context_length
from edgelm_converters.estimate import OnEstimate, StepEstimate, later_steps
from edgelm_converters.methods.calibration_text import CalibrationText, calibration_rows
from edgelm_converters.stopwatch import Stopwatch
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.weights.source_weights import Inputs


@dataclass(frozen=True)
class TextRequest:
    """Which calibration text is asked for."""

    path: Path | None
    """A file or directory; None is the text that ships with edgelm."""
    tokens: int
    seed: int


@dataclass(frozen=True)
class QuantizationTask:
    """One plan to quantize."""

    plan: OutputPlan
    config: dict[str, Any]
    """The normalised config of the source."""
    open_source: Inputs
    """Opens the source anew."""
    source_hashes: Future[dict[str, str]]
    """SHA-256 by file name."""
    directory: Path
    """The conversion under way; its tokenizer is there already."""
    stage: Path
    """A directory for what may be lost."""
    work: Path
    """A directory for finished layers, from which a later run of the same goes on."""
    text: TextRequest
    distill_steps: int | None
    """Steps of training after calibration; None is none."""
    was_quantized: bool
    """The source has what the plan quantizes in codes of its own: few values in each group."""
    loss_tokens: int
    """Held-out tokens that the loss will be measured on; 0 is no measuring."""
    on_progress: OnProgress
    on_estimate: OnEstimate
    watch: Stopwatch

    def read_text(self, tokens: int | None = None) -> CalibrationText:
        """Read the calibration text, `tokens` of it instead of `text.tokens` if they are given.

        Raises:
            NotFoundError, FormatError, OptionError: about the text.
        """
        text = self.config.get("text_config") or self.config
        tokenizer = load_tokenizer(self.directory, self.config)
        return calibration_rows(
            tokenizer,
            self.text.path,
            tokens=self.text.tokens if tokens is None else tokens,
            seed=self.text.seed,
            vocab_size=int(text.get("vocab_size") or len(tokenizer)),
            context_length=context_length(self.config),
        )

    def later_steps(self) -> dict[str, float]:
        """Price, in seconds, the long steps that come after quantizing: writing, and measuring the loss."""
        return later_steps(self.plan, self.config, self.loss_tokens)

    def announce_loss(self) -> None:
        """Announce what measuring the loss will take where no calibration, which announces it, comes before."""
        if self.loss_tokens:
            later = self.later_steps()
            loss_s = later.pop("measuring the loss")
            self.on_estimate(StepEstimate(loss_s, 0, 0, 0, "measuring the loss", later))
