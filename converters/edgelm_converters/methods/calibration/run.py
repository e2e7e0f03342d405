"""A calibrated conversion from settings to finished layers on disk: text, estimate, run, and what the receipt says."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgelm.model.load import load_tokenizer
from edgelm.quant.layers.layerwise import ModuleOutcome
from edgelm.version import __version__
from edgelm.zoo.configs.normalise import context_length
from edgelm_converters.conversion import Conversion
from edgelm_converters.estimate import Estimate, estimate, later_steps
from edgelm_converters.methods.calibration.layers import Calibration, calibrate
from edgelm_converters.methods.calibration.text import CalibrationText, calibration_rows
from edgelm_converters.methods.distill import Distilling, estimate_distilling
from edgelm_converters.methods.layer_files import LayerFiles, work_directory
from edgelm_converters.pipeline.job import ConversionJob
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.weights.source_weights import SourceWeights


@dataclass(frozen=True)
class Calibrated:
    """Every quantized module, on disk, and how it came about."""

    files: LayerFiles
    text: CalibrationText
    outcomes: list[ModuleOutcome]
    elapsed_s: float
    """Of this run; less than the whole where an earlier one had been stopped."""
    estimated: tuple[Estimate, ...]
    """Of calibrating, and of distilling where that was asked for."""
    distilled: dict[str, Any] | None = None
    """Steps, and KL on rows that were not trained on, before and after."""

    def as_json(self) -> dict[str, Any]:
        """For the receipt."""
        return {
            **self.text.as_json(),
            "elapsed_s": round(self.elapsed_s, 1),
            "estimated_s": round(sum(step.elapsed_s for step in self.estimated), 1),
            "estimated_memory_bytes": max(step.memory_bytes for step in self.estimated),
            **({"distilled": self.distilled} if self.distilled is not None else {}),
            "modules": [asdict(outcome) for outcome in self.outcomes],
        }


def read_text(wanted: Conversion, directory: Path, config: dict[str, Any]) -> CalibrationText:
    """The calibration rows for the tokenizer in `directory`.

    Raises:
        NotFoundError, FormatError, OptionError: about the text.
    """
    text = config.get("text_config") or config
    tokenizer = load_tokenizer(directory, config)
    return calibration_rows(
        tokenizer,
        Path(wanted.calibration).expanduser() if wanted.calibration is not None else None,
        tokens=wanted.text_tokens,
        seed=wanted.text_seed,
        vocab_size=int(text.get("vocab_size") or len(tokenizer)),
        context_length=context_length(config),
    )


def run_calibration(job: ConversionJob, plan: OutputPlan, text: CalibrationText, target: Path) -> Calibrated:
    """Quantize every module of `plan.quantize` on `text`, going on from an earlier run of the same.

    Raises:
        FitError: it does not fit in memory, even a layer at a time, or the student of a distillation does not.
        UnsupportedError: the architecture cannot be run layer by layer.
    """
    started, wanted = time.monotonic(), job.wanted
    sequential = wanted.chosen_quality == "best"
    estimated = [estimate(plan, job.config, text.tokens, sequential=sequential)]
    made_from: dict[str, Any] = {
        "source": job.source_hashes.result(),
        "quality": wanted.chosen_quality,
        "text": text.as_json(),
        "settings": dict(plan.quantize),
        "dtypes": sorted({str(dtype) for dtype in plan.dtypes.values()}),
        "version": __version__,
    }
    if wanted.distill is not None:
        made_from["distill"] = wanted.distill
        row_tokens = max(map(len, text.rows))
        estimated.append(estimate_distilling(plan, job.config, text.tokens, row_tokens, wanted.distill))
    later = later_steps(plan, job.config, wanted.measured_tokens)
    for step in (*estimated[:-1], replace(estimated[-1], later_s=later)):
        job.on_estimate(step)
    files = LayerFiles(work_directory(target), made_from)
    distilling = (
        Distilling(job.fresh, plan, files, wanted.distill, job.on_progress) if wanted.distill else None
    )
    outcomes = calibrate(
        Calibration(
            weights=SourceWeights(job.fresh, plan.dtypes),
            settings=plan.quantize,
            rows=text.rows,
            files=files,
            spill=files.directory / "activations",
            activations_bytes=estimated[0].activations_bytes,
            on_progress=job.on_progress,
            afterwards=distilling.run if distilling is not None else None,
        ),
        sequential=sequential,
    )
    said = distilling.said if distilling is not None else None
    return Calibrated(files, text, outcomes, time.monotonic() - started, tuple(estimated), said)
