"""What a quantization lost: source, result and round-to-nearest side by side on the shipped held-out text.

All three are run from lazily read weights that each layer drops, one after the other, so a model need not fit
in memory to be measured. Round-to-nearest gets the same width and group in every layer: the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.evaluate.compare import Comparison, compare
from edgelm.evaluate.quality import SHIPPED
from edgelm.evaluate.receipt import LayerLoss, QualityReceipt
from edgelm.evaluate.reference import Reference
from edgelm.evaluate.rows import Measuring, Row, held_out_rows
from edgelm.evaluate.scores import Estimate
from edgelm.model.load import load_tokenizer
from edgelm.progress import OnProgress, Progress
from edgelm.quant.matrix import formats
from edgelm.quant.scheme import mode_of
from edgelm.zoo.configs.normalise import context_length, normalise_config
from edgelm.zoo.network import build_network
from edgelm.zoo.protocol import sanitized_weights
from edgelm_converters.methods.method import QuantizationMethod
from edgelm_converters.methods.quantized import Calibrated
from edgelm_converters.sources.huggingface.checkpoint import open_huggingface
from edgelm_converters.targets.mlx.plan import OutputPlan
from edgelm_converters.weights.packed import unpacked
from edgelm_converters.weights.source_weights import Inputs
from edgelm_converters.weights.streamed import lazy_weights, run_streamed

TASK = "Measuring the loss"
_ROW_TOKENS = 256


@dataclass(frozen=True)
class Loss:
    """Converted, and rounded to the same widths, against the source."""

    comparison: Comparison
    rounded_kl: Estimate | None
    """None where the conversion rounds anyway."""

    def receipt(
        self, plan: OutputPlan, method: QuantizationMethod, calibrated: Calibrated | None,
        expected_kl: Mapping[str, float], *, elapsed_s: float, peak_memory_bytes: int,
    ) -> QualityReceipt:  # fmt: skip
        """Add what the conversion knows: its method, its layers, its calibration, and what it cost.

        Args:
            expected_kl: module path → mean KL in nats with that module alone quantized, where it was measured.
        """
        text = calibrated.text.as_json() if calibrated is not None else {}
        return QualityReceipt.of(
            self.comparison,
            method=method.name,
            bits_per_weight=round(plan.bits_per_weight, 3),
            size_bytes=plan.size_bytes,
            text=SHIPPED,
            rounded_kl=self.rounded_kl,
            calibration={key: text[key] for key in ("source", "tokens", "seed") if key in text},
            layers=_layer_losses(plan, method, calibrated, expected_kl),
            elapsed_s=elapsed_s,
            peak_memory_bytes=peak_memory_bytes,
        )


def measure_loss(
    inputs: Inputs, plan: OutputPlan, directory: Path, config: dict[str, Any], tokens: int, *, rounds: bool,
    on_progress: OnProgress,
) -> Loss:  # fmt: skip
    """Run all of them on about `tokens` held-out tokens.

    Args:
        inputs: opens the source anew.
        directory: the converted model, with its `config`.
        rounds: the conversion rounds to nearest, so it needs no round-to-nearest beside it.

    Raises:
        OptionError: there is not so much text, or less than a row was asked for.
        UnsupportedError: the architecture cannot be streamed.
    """
    rows = _rows(directory, config, tokens)
    steps = 2 if rounds else 3

    def announce(done: int, what: str) -> None:
        on_progress(Progress(TASK, done, steps, "steps", what))

    announce(0, "source")
    with _run_source(inputs, rows) as reference:
        announce(1, "result")
        with run_directory(directory, rows) as result:
            comparison = compare(reference, result)
        rounded = None
        if not rounds:
            announce(2, "round to nearest")
            with _run_source(inputs, rows, _rounding(plan)) as result:
                rounded = compare(reference, result).mean_kl
    announce(steps, "")
    return Loss(comparison, rounded)


def _rows(directory: Path, config: dict[str, Any], tokens: int) -> list[Row]:
    length = min(_ROW_TOKENS, context_length(config) or _ROW_TOKENS)
    return held_out_rows(load_tokenizer(directory, config), Measuring(tokens=tokens, length=length))


Change = Callable[[str, mx.array], mx.array]
"""(parameter name, its value in float32) → what to run instead."""


def _run_source(inputs: Inputs, rows: Sequence[Row], change: Change | None = None) -> Reference:
    network, tensors, packed = inputs()
    weights = lazy_weights(unpacked(tensors, packed))
    if change is not None:
        weights = {name: change(name, value) for name, value in weights.items()}
    return run_streamed(network, weights, rows)


def run_directory(directory: Path, rows: Sequence[Row]) -> Reference:
    """Stream the model in `directory` over `rows`.

    Raises:
        UnsupportedError: the architecture cannot be streamed.
    """
    checkpoint = open_huggingface(directory)
    network = build_network(normalise_config(checkpoint.config), directory)
    weights = lazy_weights(unpacked(checkpoint.tensors, checkpoint.quantization))
    weights = sanitized_weights(network, weights)
    return run_streamed(network, weights, rows)


def _rounding(plan: OutputPlan) -> Change:
    def change(name: str, value: mx.array) -> mx.array:
        path, _, kind = name.rpartition(".")
        settings = plan.quantize.get(path)
        if settings is None or kind != "weight":
            return value
        stored = value.astype(plan.dtypes[name])
        return formats.dequantized(formats.rounded(stored, settings), settings).astype(mx.float32)

    return change


def _layer_losses(
    plan: OutputPlan,
    method: QuantizationMethod,
    calibrated: Calibrated | None,
    expected_kl: Mapping[str, float],
) -> tuple[LayerLoss, ...]:
    """One entry for each module that was quantized, in the order of the plan."""
    outcomes = {outcome.path: outcome for outcome in calibrated.outcomes} if calibrated is not None else {}
    losses = []
    for path, settings in plan.quantize.items():
        outcome = outcomes.get(path)
        losses.append(
            LayerLoss(
                path,
                bits=settings["bits"],
                group_size=settings["group_size"],
                mode=mode_of(settings),
                method=outcome.method if outcome else method.outcome,
                weights=math.prod(plan.inputs[f"{path}.weight"].shape),
                kl=expected_kl.get(path),
                relative_error=outcome.relative_error if outcome else None,
                tokens=outcome.tokens if outcome else None,
            )
        )
    return tuple(losses)
