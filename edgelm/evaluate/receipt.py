"""The receipt of a quantization: what was measured, and what became of every layer.

Kept as plain JSON under `receipt["quality"]` in edgelm.json, shown by `edgelm convert` and `edgelm models info`.
Knows how to be written and read back, not how to be shown.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgelm.errors import FormatError
from edgelm.evaluate.compare import Comparison
from edgelm.evaluate.scores import Estimate

KEY = "quality"
"""Where it stands in the manifest's receipt."""


@dataclass(frozen=True, slots=True)
class LayerLoss:
    """What quantizing one module lost."""

    path: str
    bits: int
    group_size: int
    mode: str = "affine"
    method: str = ""
    """"gptq", "weighted search", "search", "rounded"."""
    weights: int = 0
    relative_error: float | None = None
    """Expected squared error of its output over the output's square, on calibration text."""
    kl: float | None = None
    """Mean KL when this module alone is quantized, where that was measured."""
    tokens: int | None = None
    """Calibration tokens that reached it."""


@dataclass(frozen=True)
class QualityReceipt:
    """What a quantization lost, and what it took."""

    method: str
    """"rtn", "fast", "good" or "best", as asked for."""
    bits_per_weight: float
    size_bytes: int
    text: str
    """What it was measured on: "shipped held-out text", or a path."""
    tokens: int
    rows: int
    mean_kl: Estimate
    p99_kl: Estimate
    top1_agreement: Estimate
    perplexity: Estimate
    source_perplexity: Estimate
    kl_by_domain: dict[str, Estimate] = field(default_factory=dict)
    rounded_kl: Estimate | None = None
    """Round-to-nearest's mean KL at the same size, on the same text; None where it was not measured."""
    calibration: dict[str, Any] = field(default_factory=dict)
    """{"source", "tokens", "seed"} where any was used."""
    layers: tuple[LayerLoss, ...] = ()
    elapsed_s: float | None = None
    peak_memory_bytes: int | None = None

    @classmethod
    def of(cls, comparison: Comparison, **facts: Any) -> QualityReceipt:
        """Return the receipt of what was measured; `facts` are the fields that `comparison` does not know."""
        return cls(
            tokens=comparison.tokens,
            rows=comparison.rows,
            mean_kl=comparison.mean_kl,
            p99_kl=comparison.p99_kl,
            top1_agreement=comparison.top1_agreement,
            perplexity=comparison.perplexity,
            source_perplexity=comparison.reference_perplexity,
            kl_by_domain=comparison.kl_by_domain,
            **facts,
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain values; a standard error that is not known is null."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> QualityReceipt:
        """Return the receipt that `as_json` wrote; unknown keys of later versions are ignored.

        Raises:
            FormatError: it is not such a receipt.
        """
        try:
            read = {name: _estimate(written[name]) for name in _ESTIMATES}
            by_domain = written.get("kl_by_domain", {})
            rounded = written.get("rounded_kl")
            return cls(
                **_known(cls, written)
                | read
                | {
                    "kl_by_domain": {domain: _estimate(item) for domain, item in by_domain.items()},
                    "rounded_kl": None if rounded is None else _estimate(rounded),
                    "layers": tuple(
                        LayerLoss(**_known(LayerLoss, item)) for item in written.get("layers", ())
                    ),
                }
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise FormatError(f"the receipt's quality cannot be read: {error!r}") from error


_ESTIMATES = ("mean_kl", "p99_kl", "top1_agreement", "perplexity", "source_perplexity")


def quality_of(receipt: Mapping[str, Any]) -> QualityReceipt | None:
    """Return the quality in a manifest's receipt, None if it was not measured. Raises as `from_json` does."""
    written = receipt.get(KEY)
    return None if written is None else QualityReceipt.from_json(written)


def _known(kind: Any, written: Mapping[str, Any]) -> dict[str, Any]:
    names = {item.name for item in dataclasses.fields(kind)}
    return {key: value for key, value in written.items() if key in names}


def _estimate(written: Mapping[str, Any]) -> Estimate:
    error = written["standard_error"]
    return Estimate(float(written["value"]), math.nan if error is None else float(error))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
