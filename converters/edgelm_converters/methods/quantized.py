"""What a quantization method gives back: a plan to write, what makes its codes, and how calibration went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgelm.quant.layers.layerwise import ModuleOutcome
from edgelm_converters.estimate import StepEstimate
from edgelm_converters.methods.calibration_text import CalibrationText
from edgelm_converters.methods.layer_files import LayerFiles
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.targets.mlx.weights import Quantizer


@dataclass(frozen=True)
class Calibrated:
    """Every quantized module, on disk, and how it came about."""

    files: LayerFiles
    text: CalibrationText
    outcomes: Sequence[ModuleOutcome]
    elapsed_s: float
    """Seconds of this run; fewer than the whole where an earlier one had been stopped."""
    estimated: tuple[StepEstimate, ...]
    """The prices of calibrating, and of distilling where that was asked for."""
    distilled: dict[str, Any] | None = None
    """Steps, and KL on rows that were not trained on, before and after."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values for the receipt."""
        return {
            **self.text.as_json(),
            "elapsed_s": round(self.elapsed_s, 1),
            "estimated_s": round(sum(step.elapsed_s for step in self.estimated), 1),
            "estimated_memory_bytes": max(step.memory_bytes for step in self.estimated),
            **({"distilled": self.distilled} if self.distilled is not None else {}),
            "modules": [asdict(outcome) for outcome in self.outcomes],
        }


@dataclass(frozen=True)
class Quantized:
    """A plan that is ready to be written."""

    plan: OutputPlan
    """With the vectors that distillation trained, if there was any."""
    quantizer: Quantizer
    """Gives the packed parameters of each quantized module."""
    calibrated: Calibrated | None = None
    """None where no text was used."""
