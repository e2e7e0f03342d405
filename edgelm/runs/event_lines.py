"""One line of a run's log, as far as it can be understood: what is not of its kind is left out, so that nothing fails later.

A log may be cut by a full disk, be of another version, or tell of a loss that is no number any more.
"""

from __future__ import annotations

import json
import math
from typing import Any

_COUNTS = frozenset({"step", "rows", "total_rows", "validation_rows", "total_steps", "best_step"})
_MEASURED = frozenset(
    {
        "eta_s", "predicted_s", "elapsed_s", "tokens_per_s", "memory_bytes", "pad_share", "loss", "smoothed", "best_loss",
        "learning_rate", "grad_norm",
    }
)  # fmt: skip
_LOSSES = frozenset({"loss", "smoothed"})
"""These alone may be NaN or infinite: that a run has diverged is to be seen."""
_LISTS = frozenset({"notes", "answers", "warnings"})
_LARGEST = 1e18
STEPPED = b'{"event": "stepped"'
"""What the line of a step begins with (see `events.to_json`)."""


def read_event(line: bytes) -> dict[str, Any] | None:
    """Read the event of a line; None if it is none."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    event = {name: value for name, value in values.items() if _is_of_its_kind(name, value)}
    for name in _COUNTS & event.keys():
        event[name] = int(event[name])
    if "answers" in event:
        event["answers"] = [answer for answer in event["answers"] if isinstance(answer, dict)]
    if "metrics" in event:
        event["metrics"] = {
            name: value for name, value in event["metrics"].items() if _is_plain_number(value)
        }
    return event


def _is_plain_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _is_of_its_kind(name: str, value: object) -> bool:
    if name in _COUNTS or name in _MEASURED:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (abs(value) < _LARGEST or (name in _LOSSES and not _is_finite(value)))  # type: ignore[arg-type]
    if name in _LISTS:
        return isinstance(value, list)
    if name == "metrics":
        return isinstance(value, dict)
    return name != "adapter" or isinstance(value, str)


def _is_finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)
