"""Whether what is needed fits what may be used, and the longest that does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Verdict = Literal["fits", "tight", "does not fit"]

_TIGHT_PERCENT = 85


def verdict_of(needed_bytes: int, budget_bytes: int, available_bytes: int | None = None) -> Verdict:
    """Judge what is needed against a budget.

    Args:
        available_bytes: what is free now, where more than that is tight as well.
    """
    if needed_bytes > budget_bytes:
        return "does not fit"
    comfortable = budget_bytes * _TIGHT_PERCENT // 100
    if available_bytes is not None:
        comfortable = min(comfortable, available_bytes)
    return "fits" if needed_bytes <= comfortable else "tight"


def longest_within(need_bytes: Callable[[int], int], budget_bytes: int, most: int) -> int:
    """Find the most tokens, up to `most`, whose need is within the budget; the need grows with them."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if need_bytes(middle) <= budget_bytes else (low, middle - 1)
    return low
