"""A calibrated conversion from its text to finished layers on disk: estimates, passes over the layers, distillation."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Protocol

from edgelm.version import __version__
from edgelm_converters.estimate import StepEstimate
from edgelm_converters.methods.calibration.layers import CalibrationRun
from edgelm_converters.methods.calibration_text import CalibrationText
from edgelm_converters.methods.distill import distill_layers, estimate_distilling, with_trained
from edgelm_converters.methods.layer_files import LayerFiles
from edgelm_converters.methods.method import QuantizationMethod
from edgelm_converters.methods.quantized import Calibrated, Quantized
from edgelm_converters.methods.task import QuantizationTask
from edgelm_converters.weights.source_weights import SourceWeights


class CalibratedMethod(QuantizationMethod, Protocol):
    """A method that walks the source's layers."""

    def quantize(self, run: CalibrationRun) -> None:
        """Quantize every module of `run.settings` into `run.files`."""
        ...


def run_calibration(task: QuantizationTask, method: CalibratedMethod) -> Quantized:
    """Quantize every module of the plan on calibration text, going on from an earlier run of the same.

    Raises:
        NotFoundError, FormatError, OptionError: about the text.
        FitError: it does not fit in memory, even a layer at a time, or the student of a distillation does not.
        UnsupportedError: the architecture cannot be run layer by layer.
    """
    text = task.read_text()
    with task.watch.step("calibrating"):
        calibrated = _calibrate(task, method, text)
    files, plan = calibrated.files, task.plan
    if calibrated.distilled is not None:
        plan = with_trained(plan, files)
    return Quantized(plan, lambda _, path: [files.packed(path)], calibrated)


def _calibrate(task: QuantizationTask, method: CalibratedMethod, text: CalibrationText) -> Calibrated:
    started, plan, steps = time.monotonic(), task.plan, task.distill_steps
    estimated = _estimates(task, method, text)
    for step in (*estimated[:-1], replace(estimated[-1], later_s=task.later_steps())):
        task.on_estimate(step)
    files = LayerFiles(task.work, _made_from(task, method, text))
    run = CalibrationRun(
        SourceWeights(task.open_source, plan.dtypes),
        plan.quantize,
        text.rows,
        files,
        activations_bytes=estimated[0].activations_bytes,
        on_progress=task.on_progress,
    )
    method.quantize(run)
    run.clock.part_done()
    # While the walk still keeps the source's last hidden states: the teacher's logits are made of them.
    distilled = (
        distill_layers(run.walk, task.open_source, plan, files, steps, task.on_progress) if steps else None
    )
    return Calibrated(files, text, run.outcomes, time.monotonic() - started, tuple(estimated), distilled)


def _estimates(task: QuantizationTask, method: CalibratedMethod, text: CalibrationText) -> list[StepEstimate]:
    """The prices of calibrating and, if it is asked for, of distilling."""
    calibrating = method.estimate(task.plan, task.config, text.tokens)
    assert calibrating is not None  # running text through a model is never free
    if task.distill_steps is None:
        return [calibrating]
    row_tokens = max(map(len, text.rows))
    distilling = estimate_distilling(task.plan, task.config, text.tokens, row_tokens, task.distill_steps)
    return [calibrating, distilling]


def _made_from(task: QuantizationTask, method: CalibratedMethod, text: CalibrationText) -> dict[str, Any]:
    """All that finished layers depend on, as JSON."""
    made_from: dict[str, Any] = {
        "source": task.source_hashes.result(),
        "quality": method.name,
        "text": text.as_json(),
        "settings": dict(task.plan.quantize),
        "dtypes": sorted({str(dtype) for dtype in task.plan.dtypes.values()}),
        "version": __version__,
    }
    if task.distill_steps is not None:
        made_from["distill"] = task.distill_steps
    return made_from
