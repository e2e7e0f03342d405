"""Stop strings: text before the first one is exact, however the text is cut into pieces."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelm.errors import OptionError
from edgelm.text.stops import StopMatcher, as_stops


def run(stops: Iterable[str], pieces: Iterable[str]) -> tuple[str, str | None]:
    matcher = StopMatcher(stops)
    text = "".join(matcher.add(piece) for piece in pieces)
    return text + matcher.finish(), matcher.matched


@pytest.mark.slow
@given(
    st.text("ab", max_size=20),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 20), max_size=6),
)
def test_pieces_do_not_matter(text: str, stops: list[str], cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[a:b] for a, b in pairwise(edges)]
    assert run(stops, pieces) == run(stops, text) == run(stops, [text])


@given(st.text("ab", max_size=20), st.text("ab", min_size=1, max_size=4))
def test_one_stop_is_find(text: str, stop: str) -> None:
    before, found, _ = text.partition(stop)
    assert run([stop], text) == (before, stop if found else None)


def test_the_first_to_be_complete_wins() -> None:
    assert run(["abcd", "c"], "xabcd") == ("xab", "c")
    assert run(["bc", "abc"], "xabc") == ("x", "abc")


def test_only_a_possible_beginning_is_held() -> None:
    matcher = StopMatcher(["</s>"])
    assert [matcher.add(piece) for piece in ("hello <", "/", "b", "</s> more")] == ["hello ", "", "</b", ""]
    assert (matcher.matched, matcher.rest) == ("</s>", " more")


@pytest.mark.parametrize("bad", ["", ["a", ""], [1]])
def test_bad_stops_are_refused(bad: object) -> None:
    with pytest.raises(OptionError, match="stop string"):
        as_stops(bad)  # type: ignore[arg-type]
