"""Rows to measure on: each token once, context enough, a beginning-of-sequence token first, domains in turn."""

from __future__ import annotations

from collections import Counter

import pytest

from edgelm import corpus
from edgelm.errors import FormatError, OptionError
from edgelm.evaluate.rows import Measuring, Row, held_out_rows, text_rows


class Letters:
    """Tokens are code points; texts begin with 1 where `bos` says so."""

    def __init__(self, *, bos: bool = False) -> None:
        self.first = [1] if bos else []

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [*(self.first if add_special_tokens else []), *map(ord, text)]


def predicted(rows: list[Row]) -> list[int]:
    return [token for row in rows for token in row.ids[row.scored_from :]]


TEXT = "".join(chr(1000 + at) for at in range(100))
IDS = [ord(letter) for letter in TEXT]


@pytest.mark.parametrize("size", [2, 9, 16, 17, 31, 32, 33, 100])
@pytest.mark.parametrize("bos", [False, True])
def test_every_token_is_predicted_once(size: int, bos: bool) -> None:
    rows = text_rows(Letters(bos=bos), [("a", TEXT[:size])], Measuring(tokens=0, length=16))
    assert predicted(rows) == (IDS[:size] if bos else IDS[1:size])
    for row in rows:
        assert len(row.ids) <= 16
        assert (row.ids[0] == 1) == bos


def test_a_row_repeats_half_of_the_one_before() -> None:
    rows = text_rows(Letters(), [("a", TEXT)], Measuring(tokens=0, length=16))
    assert rows[0].scored_from == 1
    assert all(row.scored_from == 8 for row in rows[1:])
    assert list(rows[1].ids) == IDS[8:24]


def test_texts_do_not_run_into_each_other_and_end_at_the_limit() -> None:
    texts = [("a", TEXT[:20]), ("b", TEXT[20:40]), ("c", TEXT[40:])]
    rows = text_rows(Letters(), texts, Measuring(tokens=30, length=16))
    assert predicted(rows) == [*IDS[1:20], *IDS[21:30]]
    assert {row.domain for row in rows} == {"a", "b"}
    assert all(IDS[20] not in row.ids for row in rows if row.domain == "a")


def test_text_with_nothing_to_predict_is_refused() -> None:
    with pytest.raises(FormatError, match="no tokens to predict"):
        text_rows(Letters(), [("a", ""), ("b", "x")], Measuring())


def test_held_out_rows_take_domains_in_turn() -> None:
    rows = held_out_rows(Letters(bos=True), Measuring(tokens=64 * 20, length=64))
    counts = Counter(row.domain for row in rows)
    assert sum(counts.values()) == 20
    assert counts.keys() == set(corpus.DOMAINS)
    assert max(counts.values()) - min(counts.values()) == 1
    assert all(row.ids[0] == 1 and len(row.ids) == 64 for row in rows)
    assert rows == held_out_rows(Letters(bos=True), Measuring(tokens=64 * 20, length=64))
    assert rows != held_out_rows(Letters(bos=True), Measuring(tokens=64 * 20, length=64, seed=1))


def test_small_domains_give_what_they_have() -> None:
    everything = held_out_rows(Letters(), Measuring(tokens=0, length=512))
    counts = Counter(row.domain for row in everything)
    assert counts["dialogue"] == len(corpus.held_out()["dialogue"]) // 512
    most = held_out_rows(Letters(), Measuring(tokens=(len(everything) - 1) * 512, length=512))
    assert Counter(row.domain for row in most)["dialogue"] == counts["dialogue"]


@pytest.mark.parametrize("tokens", [100, 10_000_000])
def test_more_than_there_is_is_refused(tokens: int) -> None:
    with pytest.raises(OptionError, match=f"tokens is {tokens:,}, expected 256 to "):
        held_out_rows(Letters(), Measuring(tokens=tokens))
