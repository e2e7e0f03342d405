"""Rows of tokens: the same ones for the same seed, never overlapping, refused when the text is too short."""

from __future__ import annotations

from typing import Any

import pytest

from edgelm.corpus import sample_rows, token_rows
from edgelm.corpus.rows import leading_tokens
from edgelm.errors import OptionError


class Letters:
    """A tokenizer whose tokens are code points, with specials around as asked."""

    def __init__(self, before: list[int] | None = None, after: list[int] | None = None) -> None:
        self.before, self.after = before or [], after or []

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids = [ord(letter) for letter in text]
        return [*self.before, *ids, *self.after] if add_special_tokens else ids


TEXT = "".join(chr(1000 + at) for at in range(1000))


def test_the_seed_decides_which_rows() -> None:
    rows = token_rows(Letters(), TEXT, tokens=200, length=20, seed=3)
    assert rows == token_rows(Letters(), TEXT, tokens=200, length=20, seed=3)
    assert rows != token_rows(Letters(), TEXT, tokens=200, length=20, seed=4)
    assert [len(row) for row in rows] == [20] * 10
    assert rows[0] == [1300 + at for at in range(20)]  # on every machine and Python


def test_rows_are_whole_stretches_that_do_not_overlap() -> None:
    rows = token_rows(Letters(), TEXT, tokens=1000, length=20, seed=0)
    assert sorted(token for row in rows for token in row) == [ord(letter) for letter in TEXT]
    assert all(row == list(range(row[0], row[0] + 20)) for row in rows)


@pytest.mark.parametrize(
    ("tokenizer", "first"), [(Letters([7]), [7]), (Letters([7], [8]), [7]), (Letters([], [8]), [])]
)
def test_rows_start_as_texts_do(tokenizer: Any, first: list[int]) -> None:
    assert leading_tokens(tokenizer) == first
    rows = token_rows(tokenizer, TEXT, tokens=60, length=20, seed=0)
    assert [len(row) for row in rows] == [20, 20, 20]
    assert all(row[: len(first)] == first and 8 not in row for row in rows)


@pytest.mark.parametrize(
    ("tokens", "length", "message"),
    [
        (2000, 20, r"1,000 tokens, expected at least 2,000 for 100 rows of 20"),
        (10, 20, "tokens is 10, expected at least one row of 20"),
        (10, 0, "length is 0, expected at least 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tokens: int, length: int, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        sample_rows(range(1000), tokens, length, 0)
