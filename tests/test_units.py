"""Numbers as people read them."""

from __future__ import annotations

import pytest

from edgelm.cli.show.progress_bars import format_count
from edgelm.units import count, singular


@pytest.mark.parametrize(
    ("number", "noun", "expected"),
    [(0, "row", "0 rows"), (1, "row", "1 row"), (2, "row", "2 rows"), (1500, "token", "1,500 tokens")],
)
def test_one_is_singular(number: int, noun: str, expected: str) -> None:
    assert count(number, noun) == expected


def test_a_plural_of_its_own() -> None:
    assert count(1, "entry", "entries") == "1 entry"
    assert count(2, "entry", "entries") == "2 entries"


@pytest.mark.parametrize(
    ("many", "one"),
    [("rows", "row"), ("batches", "batch"), ("boxes", "box"), ("loss", "loss"), ("passes", "pass")],
)
def test_singular(many: str, one: str) -> None:
    assert singular(many) == one


def test_units_of_progress() -> None:
    assert format_count(1, "rows") == "1 row"
    assert format_count(2, "batches") == "2 batches"
    assert format_count(1_500_000, "bytes") == "1.5 MB"
