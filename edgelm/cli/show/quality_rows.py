"""How a quantization's receipt is shown on a terminal: labelled lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgelm.units import count, format_bytes, format_seconds

if TYPE_CHECKING:
    from edgelm.evaluate.receipt import LayerLoss, QualityReceipt
    from edgelm.evaluate.scores import Estimate

_WORST = 5


def receipt_rows(receipt: QualityReceipt) -> list[tuple[str, str]]:
    """(label, value) lines of all of `receipt`."""
    size = f"{receipt.bits_per_weight:.3g} bits per weight, {format_bytes(receipt.size_bytes)}"
    rows = [("quality", f"{receipt.method}, {size}"), *loss_rows(receipt)]
    if cost := _cost(receipt):
        rows.append(("quantizing took", cost))
    return rows


def loss_rows(receipt: QualityReceipt) -> list[tuple[str, str]]:
    """(label, value) lines of what was lost."""
    rows = [
        ("mean KL", show(receipt.mean_kl) + " nats" + _beside_rounding(receipt)),
        ("99% of tokens", f"KL below {show(receipt.p99_kl)}"),
        ("same first choice", show_share(receipt.top1_agreement)),
        ("perplexity", f"{show(receipt.perplexity)} (source {show(receipt.source_perplexity)})"),
        ("measured on", f"{receipt.text}, {count(receipt.tokens, 'token')} in {rows_of(receipt.rows)}"),
    ]
    if receipt.kl_by_domain:
        parts = [f"{domain} {estimate.value:.3g}" for domain, estimate in receipt.kl_by_domain.items()]
        rows.append(("mean KL by domain", ", ".join(parts)))
    if worst := _worst(receipt.layers):
        rows.append(("largest errors", worst))
    return rows


def rows_of(count: int) -> str:
    """Say `1 row`, `32 rows`."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def show(estimate: Estimate) -> str:
    """Say `0.0543 ± 0.0021`: the error with two digits, the value with as many decimals."""
    decimals = _decimals(estimate.standard_error)
    if decimals is None:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.{decimals}f} ± {estimate.standard_error:.{decimals}f}"


def show_share(estimate: Estimate) -> str:
    """Say a share with its error, as `87.5% ± 0.6%`."""
    error = "" if math.isnan(estimate.standard_error) else f" ± {estimate.standard_error:.1%}"
    return f"{estimate.value:.1%}{error}"


def _decimals(error: float) -> int | None:
    """Decimals that show two digits of `error`; None where it is not known or nothing."""
    if not (math.isfinite(error) and error > 0):
        return None
    return min(max(0, 1 - math.floor(math.log10(error))), 8)


def _beside_rounding(receipt: QualityReceipt) -> str:
    rounded = receipt.rounded_kl
    if rounded is None or not rounded.value or receipt.method == "rtn":
        return ""
    return f", {receipt.mean_kl.value / rounded.value:.2g} of round-to-nearest's {show(rounded)} at this size"


def _worst(layers: Sequence[LayerLoss]) -> str:
    known = [layer for layer in layers if layer.relative_error is not None]
    known.sort(key=lambda layer: layer.relative_error or 0.0, reverse=True)
    return ", ".join(f"{layer.path} {layer.relative_error:.2g}" for layer in known[:_WORST])


def _named(calibration: Mapping[str, Any]) -> str:
    source = calibration.get("source", "text")
    return "the shipped text" if source == "shipped" else str(source)


def _cost(receipt: QualityReceipt) -> str:
    parts = []
    if receipt.elapsed_s is not None:
        parts.append(format_seconds(receipt.elapsed_s))
    if receipt.peak_memory_bytes is not None:
        parts.append(f"peak memory {format_bytes(receipt.peak_memory_bytes)}")
    if receipt.calibration:
        said = receipt.calibration
        parts.append(f"calibrated on {count(said.get('tokens', 0), 'token')} of {_named(said)}")
    return ", ".join(parts)
