"""Sums of a measurement by row, and estimates with standard errors made of them.

Tokens of one row share their context, so they are not independent observations: the standard error of a mean
over tokens is clustered by row (Liang & Zeger 1986), that of a percentile comes from resampling whole rows.
Knows nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 200
_SEED = 0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its standard error, in the same unit; the error is NaN for a single row."""

    value: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.standard_error:.2g}"


def mean_estimate(sums: Sequence[float], counts: Sequence[int]) -> Estimate:
    """Return the mean over all tokens of what sums to `sums` over rows of `counts` tokens."""
    total, tokens = np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    mean = float(total.sum() / tokens.sum())
    if len(total) < 2:
        return Estimate(mean, math.nan)
    residuals = total - mean * tokens
    variance = len(total) / (len(total) - 1) * float((residuals**2).sum()) / float(tokens.sum()) ** 2
    return Estimate(mean, math.sqrt(variance))


def exponential(estimate: Estimate) -> Estimate:
    """Return the exponential of an estimate, its error by the delta method: a perplexity from a mean in nats."""
    value = math.exp(estimate.value)
    return Estimate(value, value * estimate.standard_error)


def percentile_estimate(rows: Sequence[Floats], percent: float) -> Estimate:
    """Return the `percent` percentile over all tokens; its error is the spread over resampled rows."""
    value = float(np.percentile(np.concatenate(rows), percent))
    if len(rows) < 2:
        return Estimate(value, math.nan)
    generator = np.random.default_rng(_SEED)
    drawn = generator.integers(len(rows), size=(RESAMPLES, len(rows)))
    spread = [np.percentile(np.concatenate([rows[row] for row in picks]), percent) for picks in drawn]
    return Estimate(value, float(np.std(spread, ddof=1)))
