"""Where in an answer its result stands: in a box, behind `####` (GSM8K's mark), behind "Answer:", else all of it."""

from __future__ import annotations

import re

_MARKS = (
    re.compile(r"####[ \t]*([^\n]*)"),
    re.compile(r"\banswer(?:[ \t]+is)?[ \t]*(?::|is\b)[ \t]*\**[ \t]*([^\n]*)", re.IGNORECASE),
)
_NUMBER = re.compile(
    r"(?<![\w.])[-+\u2212]?[$€£]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d{1,3})?(?:/\d+)?"
)
_LONGEST = 40
"""Characters of a number: longer runs of digits are none that somebody answers with."""


def final_answer(text: str) -> str:
    """Return the result that an answer states last, trimmed; all of it where nothing marks one."""
    if (boxed := _boxed(text)) is not None:
        return boxed.strip()
    for mark in _MARKS:
        found = mark.findall(text)
        if found:
            return str(found[-1]).strip().rstrip(".*").strip()
    return text.strip()


def final_number(text: str) -> float | None:
    """Return the last number of the result that an answer states; None where it has none.

    Thousands may be separated by commas, as TeX writes them too; a fraction `a/b` is one number.
    """
    for found in reversed(_NUMBER.findall(final_answer(text).replace("{,}", ","))):
        if (number := _value(found)) is not None:
            return number
    return None


def _value(text: str) -> float | None:
    if len(text) > _LONGEST:
        return None
    plain = text.replace(",", "").replace("\u2212", "-").translate({ord(sign): None for sign in "$€£"})
    over, _, under = plain.partition("/")
    try:
        number = float(over) / float(under or 1)
    except (ValueError, ZeroDivisionError):
        return None
    return number if abs(number) < float("inf") else None


def _boxed(text: str) -> str | None:
    """The content of the last `\\boxed{…}`, whose braces may nest."""
    at = text.rfind("\\boxed{")
    if at < 0:
        return None
    begin = at + len("\\boxed{")
    depth = 1
    for index in range(begin, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return text[begin:index]
    return None
