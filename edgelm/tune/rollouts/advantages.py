"""What each answer of a group is worth beside the others: Shao et al. 2024 (arXiv:2402.03300), as TRL 1.16 computes it.

    A = (r − mean of the group) / (standard deviation + 1e-4)

The deviation is the sample's (n − 1), of the group, of the whole step (arXiv:2508.08221), or left out (arXiv:2503.20783).

Shapes: P groups, G answers of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_EPSILON = 1e-4


def advantages(rewards: Sequence[Sequence[float | None]], scale: str) -> list[npt.NDArray[np.float32]]:
    """Return the advantage of every answer, group by group.

    Args:
        rewards: of every group the answers' rewards; None where none judged an answer, which is worth 0 beside the others.
        scale: "group", "step" or "none": what differences are divided by.
    """
    values = [np.array([np.nan if each is None else each for each in group], np.float64) for group in rewards]
    known = [group[np.isfinite(group)] for group in values]
    everything = np.concatenate(known) if known else np.zeros(0)
    centred = [
        group - (judged.mean() if judged.size else 0.0) for group, judged in zip(values, known, strict=True)
    ]
    match scale:
        case "group":
            divisors = [_deviation(judged) + _EPSILON for judged in known]
        case "step":
            divisors = [_deviation(everything) + _EPSILON] * len(values)
        case _:
            divisors = [1.0] * len(values)
    return [
        np.nan_to_num(group / divisor).astype(np.float32)
        for group, divisor in zip(centred, divisors, strict=True)
    ]


def has_variance(rewards: Sequence[float | None]) -> bool:
    """Return whether a group tells any of its answers from another."""
    judged = {each for each in rewards if each is not None}
    return len(judged) > 1


def _deviation(values: npt.NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else 0.0
