"""The protocol of a quantization method: how it is called, what it needs, what it takes, and how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from edgelm_converters.estimate import StepEstimate
    from edgelm_converters.methods.quantized import Quantized
    from edgelm_converters.methods.task import QuantizationTask
    from edgelm_converters.targets.mlx.plan import OutputPlan


class QuantizationMethod(Protocol):
    """One way to choose the codes of the tensors that a plan quantizes."""

    name: str
    """The name that `--quality` takes and manifests keep."""
    description: str
    """What it does, in a few words."""
    needs_text: bool
    """Whether calibration text is run through the model, layer by layer."""
    needs_hessians: bool
    """Whether it puts matrices through GPTQ; sensitivities for a budget are then measured by GPTQ as well."""
    is_baseline: bool
    """Whether it is plain rounding, beside which the loss of every other method is measured."""
    outcome: str
    """How it treats every module, for the receipt; "" if the outcome of each module says so."""

    def estimate(self, plan: OutputPlan, config: Mapping[str, Any], tokens: int) -> StepEstimate | None:
        """Price quantizing `plan` with `tokens` of text on this machine; None if it costs no more than writing.

        Raises:
            FitError: it does not fit in memory.
        """
        ...

    def run(self, task: QuantizationTask) -> Quantized:
        """Quantize what `task.plan` names, or prepare to do so while it is written.

        Raises:
            NotFoundError, FormatError, OptionError: about the calibration text.
            FitError: it does not fit in memory.
            UnsupportedError: the architecture cannot be run layer by layer.
        """
        ...
