"""What an answer states last, as GSM8K, MATH and plain answers write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelm.rewards.final_answer import final_answer, final_number


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Janet sells 9 eggs.\n#### 18", "18"),
        ("it is \\boxed{3", "it is \\boxed{3"),
        ("first \\boxed{1}, then \\boxed{x^{2}+1}.", "x^{2}+1"),
        ("Thinking… **Answer:** Paris.", "Paris"),
        ("The answer is 42.", "42"),
        ("  Rome \n", "Rome"),
    ],
)
def test_the_result_is_what_is_stated_last(text: str, result: str) -> None:
    assert final_answer(text) == result


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 1,234.50", 1234.5),
        ("\\boxed{1{,}000}", 1000.0),
        ("It costs $12, or €11.", 11.0),
        ("The answer is -3/4.", -0.75),
        ("\u22125", -5.0),
        ("6.02e23", 6.02e23),
        ("v2x and B2B", None),
        ("1/0", None),
        ("9" * 5000, None),
        ("none", None),
        ("", None),
    ],
)
def test_the_number_of_the_result(text: str, number: float | None) -> None:
    assert final_number(text) == number


@given(st.text(alphabet="0123456789.,-+eE/$#\\boxed{}answer is:\n", max_size=80))
def test_any_text_has_a_finite_number_or_none(text: str) -> None:
    number = final_number(text)
    assert number is None or abs(number) < float("inf")
