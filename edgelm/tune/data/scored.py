"""Pairs as a reward model is trained on them: what is trained is not the answers' tokens but one score behind the last of each.

So that the last token is read, and not only a target, another one stands behind it, of which nothing but its place counts.
"""

from __future__ import annotations

import dataclasses
import math

from edgelm.tune.data.problems import Problem
from edgelm.tune.data.records import PreferenceRecord, Record
from edgelm.tune.data.rows import Example, Pair, Row

_BEHIND = 0
"""The token that stands behind an answer: every vocabulary has it."""


def scored(row: Row, record: Record) -> tuple[Row, Problem | None]:
    """Return the row with its answers to be scored and the margin that its record asks for; what is no pair, as it is."""
    if not isinstance(row, Pair) or not isinstance(record, PreferenceRecord):
        return row, None
    if math.isnan(record.margin):
        reason = "no finite number, expected by how much chosen is to score above rejected"
        return row, Problem(record.origin, "margin", reason, "field")
    return dataclasses.replace(
        row, chosen=_scored(row.chosen), rejected=_scored(row.rejected), margin=record.margin
    ), None


def _scored(example: Example) -> Example:
    return Example((*example.tokens, _BEHIND), (*(False for _ in example.tokens), True), example.origin)
