"""Training and validation parts that share no prompt, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from edgelm.errors import OptionError
from edgelm.tune.data.records import Record
from edgelm.units import count

T = TypeVar("T")


def split_by_prompt(
    records: Sequence[Record], items: Sequence[T], share: float, seed: int
) -> tuple[list[T], list[T]]:
    """Split `items`, one for each record, into two parts: all that ask the same are in the same part, in their old order.

    Args:
        share: of the rows that goes into the second part; at least one row, and never all.

    Raises:
        OptionError: a share outside 0 to 1, or data with a single prompt.
    """
    if not 0 < share < 1:
        raise OptionError(f"the validation share is {share:g}, expected more than 0 and less than 1")
    groups: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        groups.setdefault(record.prompt_key, []).append(index)
    if len(groups) < 2:
        raise OptionError(
            f"the data holds {count(len(groups), 'different prompt')}, expected at least 2 to split it by prompt"
        )
    held = _choose(list(groups.values()), max(1, round(share * len(records))), seed)
    first = [item for index, item in enumerate(items) if index not in held]
    return first, [item for index, item in enumerate(items) if index in held]


def _choose(groups: list[list[int]], wanted: int, seed: int) -> set[int]:
    """Whole groups in random order, while that comes nearer to `wanted` rows; never all of them."""
    random.Random(seed).shuffle(groups)
    held: set[int] = set(groups[0])
    for group in groups[1:-1]:
        if len(held) >= wanted:
            break
        if len(held) + len(group) - wanted <= wanted - len(held):
            held.update(group)
    return held
