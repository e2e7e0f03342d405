"""Sampling: every filter and penalty against numpy, every bad setting refused when built."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from edgelm.errors import OptionError
from edgelm.runtime.sampling.processors import CountPenalty, RepetitionPenalty
from edgelm.runtime.sampling.sampler import Sampler, keep_likeliest
from edgelm.runtime.sampling.settings import Sampling

LOGITS = np.array([2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -4.0], dtype=np.float32)
DRAWS = 1000


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


def reference(logits: np.ndarray, s: Sampling) -> np.ndarray:
    """The distribution that `s` asks for, in the documented order."""
    x = logits.astype(np.float64) / s.temperature
    if s.top_k:
        x = np.where(x >= np.sort(x)[-min(s.top_k, len(x))], x, -np.inf)
    if s.top_p < 1:
        order = np.argsort(-x)
        before = np.concatenate([[0], np.cumsum(softmax(x)[order])[:-1]])
        x[order[before >= s.top_p]] = -np.inf
    if s.min_p:
        p = softmax(x)
        x = np.where(p >= s.min_p * p.max(), x, -np.inf)
    return softmax(x)


FILTERS: list[dict[str, Any]] = [
    {"temperature": 0.5},
    {"temperature": 2.0},
    {"top_k": 3},
    {"top_k": 1000},
    {"top_p": 0.7},
    {"top_p": 0.01},
    {"min_p": 0.3},
    {"min_p": 1.0},
    {"top_k": 5, "top_p": 0.8, "min_p": 0.2, "temperature": 1.5},
]


@pytest.mark.parametrize("settings", FILTERS, ids=str)
def test_filters_leave_the_distribution_asked_for(settings: dict[str, Any]) -> None:
    sampling = Sampling(**{"temperature": 1.0, **settings})
    rng = np.random.default_rng(0)
    for logits in (LOGITS, rng.normal(size=50).astype(np.float32) * 3):
        scaled = mx.array(logits)[None] / sampling.temperature
        kept = keep_likeliest(scaled, sampling.top_k, sampling.top_p, sampling.min_p)
        found = np.array(mx.softmax(kept[0]))
        np.testing.assert_allclose(found, reference(logits, sampling), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [FILTERS[0], FILTERS[-1]], ids=str)
def test_draws_follow_the_distribution(settings: dict[str, Any]) -> None:
    sampling = Sampling(**{"temperature": 1.0, "seed": 3, **settings})
    counts = np.bincount(drawn(sampling, DRAWS), minlength=len(LOGITS))
    expected = reference(LOGITS, sampling) * DRAWS
    assert not counts[expected == 0].any()
    kept = expected > 0
    chi2 = (((counts - expected) ** 2)[kept] / expected[kept]).sum()
    assert chi2 < 30  # p < 0.0001 at 7 degrees of freedom; the seed is fixed


def drawn(sampling: Sampling, count: int = 20) -> list[int]:
    sampler = Sampler(sampling, [0], len(LOGITS))
    return [int(sampler.sample(mx.array(LOGITS)[None]).item()) for _ in range(count)]


def test_the_seed_decides_and_nothing_else() -> None:
    first = drawn(Sampling(temperature=1.0, seed=5))
    mx.random.seed(99)
    assert drawn(Sampling(temperature=1.0, seed=5)) == first
    assert drawn(Sampling(temperature=1.0, seed=6)) != first


def test_without_a_seed_two_runs_differ() -> None:
    assert drawn(Sampling(temperature=1.0), 60) != drawn(Sampling(temperature=1.0), 60)


def test_cold_is_greedy() -> None:
    for sampling in (Sampling(), Sampling(temperature=1e-30, seed=1), Sampling(temperature=9, top_k=1)):
        assert set(drawn(sampling)) == {0}


def test_repetition_penalty_counts_the_window_of_prompt_and_answer() -> None:
    penalty = RepetitionPenalty(2.0, 3, [6, 0, 0, 5])
    expected = LOGITS.copy()
    expected[[0, 5]] = [1.0, -1.0]
    np.testing.assert_allclose(penalty.apply(mx.array(LOGITS)[None])[0], expected)
    penalty.observe(mx.array([1]))
    penalty.observe(mx.array([7]))  # the window is now 5, 1, 7
    expected = LOGITS.copy()
    expected[[5, 1, 7]] = [-1.0, 0.75, -8.0]
    np.testing.assert_allclose(penalty.apply(mx.array(LOGITS)[None])[0], expected)


def test_presence_and_frequency_count_the_answer() -> None:
    penalty = CountPenalty(0.5, 0.25, len(LOGITS))
    np.testing.assert_allclose(penalty.apply(mx.array(LOGITS)[None])[0], LOGITS)
    for token in (2, 2, 4):
        penalty.observe(mx.array([token]))
    expected = LOGITS.copy()
    expected[2] -= 0.5 + 2 * 0.25
    expected[4] -= 0.5 + 0.25
    np.testing.assert_allclose(penalty.apply(mx.array(LOGITS)[None])[0], expected)


def test_penalties_change_what_greedy_takes() -> None:
    assert drawn(Sampling(presence_penalty=2.0), 3) == [0, 1, 2]
    assert drawn(Sampling(frequency_penalty=0.3), 4) == [0, 0, 1, 0]
    assert drawn(Sampling(logit_bias={7: 100.0}), 2) == [7, 7]
    assert drawn(Sampling(logit_bias={0: -100}), 2) == [1, 1]


def test_half_precision_logits_are_taken() -> None:
    sampler = Sampler(Sampling(temperature=1.0, top_p=0.5, repetition_penalty=1.1, seed=0), [0], len(LOGITS))
    assert 0 <= sampler.sample(mx.array(LOGITS).astype(mx.bfloat16)[None]).item() < len(LOGITS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.5),
        ("top_k", -1),
        ("top_k", 1.5),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("repetition_penalty", 0),
        ("repetition_window", 0),
        ("presence_penalty", 2.1),
        ("frequency_penalty", -2.1),
        ("seed", -1),
        ("seed", 2**64),
        ("seed", True),
        ("logit_bias", [1]),
        ("logit_bias", {-1: 1.0}),
        ("logit_bias", {"a": 1.0}),
        ("logit_bias", {1: float("inf")}),
        ("logit_bias", {1: None}),
    ],
)
def test_bad_settings_are_refused_when_built(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=name):
        Sampling(**{name: value})


def test_the_largest_seed_is_taken() -> None:
    assert drawn(Sampling(temperature=1.0, seed=2**64 - 1))
