"""How a reward function is called, and what it may give back: TRL's convention, so that functions can be shared.

    def reward(prompts, completions, **columns) -> list[float | None]

`prompts` and `completions` are texts, or where rows are conversations lists of messages; every other field of the rows comes
as a list under its own name. A function gets what its signature names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgelm.errors import RewardError
from edgelm.rewards.reward import JudgedAnswer


def arguments_of(answers: Sequence[JudgedAnswer]) -> dict[str, list[Any]]:
    """Return the keyword arguments of a call, each as long as `answers`; a field that a row lacks is None there."""
    names = sorted({name for each in answers for name in each.columns} - {"prompts", "completions"})
    return {
        "prompts": [each.prompt if isinstance(each.prompt, str) else list(each.prompt) for each in answers],
        "completions": [_completion(each) for each in answers],
        **{name: [each.columns.get(name) for each in answers] for name in names},
    }


def _completion(each: JudgedAnswer) -> Any:
    return each.text if isinstance(each.prompt, str) else [{"role": "assistant", "content": each.text}]


def checked_rewards(name: str, values: Any, count: int) -> list[float | None]:
    """Return what a reward gave as numbers.

    Raises:
        RewardError: naming the first value that is none, or a wrong number of them.
    """
    try:
        given = list(values)
    except TypeError:
        raise RewardError(
            f"the reward {name} returned {_shown(values)}, expected a list of {count} numbers"
        ) from None
    if isinstance(values, (str, bytes, dict)) or len(given) != count:
        raise RewardError(
            f"the reward {name} returned {len(given)} values, expected {count}: one for each answer"
            if not isinstance(values, (str, bytes, dict))
            else f"the reward {name} returned {_shown(values)}, expected a list of {count} numbers"
        )
    return [_number(name, index, value) for index, value in enumerate(given)]


def _number(name: str, index: int, value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = None if isinstance(value, (str, bytes)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or not math.isfinite(number):
        raise RewardError(
            f"the reward {name} returned {_shown(value)} for answer {index + 1}, "
            "expected a finite number, or None for no verdict"
        )
    return number


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
