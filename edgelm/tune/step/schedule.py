"""The learning rate of each step: a warm-up, then cosine, linear or constant.

Pure functions of (step, total steps), so that a resumed run goes on exactly where it was.
"""

from __future__ import annotations

import math

_FLOOR = 0.1
"""The share of the highest rate at which cosine ends."""


def learning_rate(step: int, total: int, *, peak: float, warmup: float, kind: str) -> float:
    """Return the rate of update `step` (from 0) of `total`.

    The warm-up takes `warmup` of the steps, at least one if it is not 0, and its first update is not zero.
    Cosine: Loshchilov and Hutter 2017 (arXiv:1608.03983), ending at a tenth of the peak; linear ends at zero.
    """
    rising = max(1, round(warmup * total)) if warmup else 0
    if step < rising:
        return peak * (step + 1) / rising
    share = min(1.0, (step - rising) / max(1, total - rising))
    if kind == "cosine":
        return peak * (_FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))
    return peak * (1 - share) if kind == "linear" else peak
