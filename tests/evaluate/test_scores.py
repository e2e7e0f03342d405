"""Estimates: values by hand, and standard errors that cover what they claim to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgelm.evaluate.scores import Estimate, exponential, mean_estimate, percentile_estimate


def test_the_mean_is_over_tokens_not_rows() -> None:
    assert mean_estimate([10.0, 1.0], [10, 1]).value == 1.0
    assert mean_estimate([10.0, 8.0], [10, 2]).value == 1.5


def test_one_row_has_no_standard_error() -> None:
    assert math.isnan(mean_estimate([3.0], [2]).standard_error)
    assert math.isnan(percentile_estimate([np.arange(5.0)], 99).standard_error)


def test_equal_rows_reduce_to_the_usual_formula() -> None:
    means = np.array([1.0, 2.0, 4.0, 5.0])
    found = mean_estimate(list(means * 7), [7] * 4)
    assert found.standard_error == pytest.approx(np.std(means, ddof=1) / 2)


def clustered(generator: np.random.Generator) -> list[np.ndarray]:
    """30 rows of 50 tokens that share most of their deviation."""
    return [generator.normal(generator.normal(), 0.3, size=50) for _ in range(30)]


def test_rows_that_hang_together_widen_the_error() -> None:
    generator = np.random.default_rng(0)
    draws = [mean_estimate([row.sum() for row in rows], [50] * 30) for rows in
             (clustered(generator) for _ in range(400))]  # fmt: skip
    spread = np.std([draw.value for draw in draws])
    claimed = np.mean([draw.standard_error for draw in draws])
    assert claimed == pytest.approx(spread, rel=0.1)
    assert claimed > 4 / math.sqrt(30 * 50) * 0.9  # independent tokens would claim a quarter of it


@pytest.mark.slow
def test_the_error_of_a_percentile_is_its_spread() -> None:
    generator = np.random.default_rng(1)
    draws = [percentile_estimate(clustered(generator), 90) for _ in range(40)]
    spread = np.std([draw.value for draw in draws])
    assert np.mean([draw.standard_error for draw in draws]) == pytest.approx(spread, rel=0.35)


def test_a_percentile_of_all_tokens() -> None:
    assert percentile_estimate([np.arange(50.0), np.arange(50.0, 101.0)], 99).value == pytest.approx(99.0)


def test_perplexity_is_the_exponential_with_its_error() -> None:
    assert exponential(Estimate(math.log(10), 0.02)) == Estimate(pytest.approx(10.0), pytest.approx(0.2))
