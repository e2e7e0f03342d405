"""The receipt of a conversion: what it cost, what became of each kind of tensor, what was lost."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from edgelm.quant.apply import Decision
from edgelm.quant.scheme import Settings, mode_of
from edgelm.zoo.proofs.verdict import Proof
from edgelm_converters.result.judge.ask import Judgement
from edgelm_converters.result.logits import LogitsComparison
from edgelm_converters.result.verify import RoundTrip
from edgelm_converters.sources.checkpoint import SourceCheckpoint
from edgelm_converters.targets.mlx.plan import OutputPlan


@dataclass(frozen=True)
class ConversionReceipt:
    """Kept in the manifest as plain JSON."""

    elapsed_s: float
    """From when the conversion was asked for until all but this receipt was written: measuring the loss is in it."""
    peak_memory_bytes: int
    """Peak resident size of the process, verification excluded."""
    parameters: int
    tensors: dict[str, int]
    """"Q4_1 → 4-bit group 32 (exact)" → how many."""
    regrouped: dict[str, int]
    """Layer → the smaller group its width forced."""
    left_unquantized: dict[str, int]
    """Layer → the row width no group divides."""
    tokenizer: RoundTrip
    comparison: LogitsComparison | None
    """The result against the source, both as edgelm reads them: what quantization cost, not whether the network is right."""
    skipped: str | None
    """Why there is no comparison."""
    proof: Proof
    """What the table that ships with edgelm says of this architecture with these settings."""
    judgement: Judgement | None = None
    """What transformers computes of the source, beside edgelm's reading of it and beside the result."""
    calibration: dict[str, Any] | None = None
    """Text, tokens and seed of a calibrated quality, and what became of every module."""

    quality: dict[str, Any] | None = None
    """What was lost on held-out text: `edgelm.evaluate.receipt.QualityReceipt` as JSON."""

    rounded_because: str | None = None
    """Why weights were rounded to nearest where the default is to calibrate."""

    dropped: dict[str, int] = field(default_factory=dict)
    """Names of the source's tensors that mlx-lm's architecture leaves out, numbers starred → how many."""

    notes: list[str] = field(default_factory=list)
    """What was found in the source, and what was made of it."""

    steps_s: dict[str, float] = field(default_factory=dict)
    """Seconds of each long step."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values for the manifest."""
        said = asdict(self)
        if self.comparison is not None:
            said["compared"] = (
                f"the result with the source, both as edgelm reads them (mlx-lm {version('mlx-lm')})"
            )
        return said


def describe_tensors(checkpoint: SourceCheckpoint, plan: OutputPlan, decision: Decision) -> dict[str, int]:
    """Count the tensors of each stored type by what became of them."""
    counts: Counter[str] = Counter()
    for name, tensor in plan.inputs.items():
        path, _, kind = name.rpartition(".")
        if path in plan.packed and kind in ("scales", "biases"):
            continue
        stored = tensor.stored_as or "packed"
        if path in plan.packed and kind == "weight":
            counts[f"{stored} → {_words(plan.packed[path])} (kept)"] += 1
        elif path in decision.layers and kind == "weight":
            counts[f"{stored} → {_words(decision.layers[path])}"] += 1
        else:
            counts[f"{stored} → {str(plan.dtypes[name]).rpartition('.')[2]}"] += 1
    return dict(sorted(counts.items()))


def _words(settings: Settings) -> str:
    mode = mode_of(settings)
    label = f"{settings['bits']}-bit" if mode == "affine" else mode
    return f"{label} group {settings['group_size']}"


def peak_memory_bytes() -> int:
    """Return the peak resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
