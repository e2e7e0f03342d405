"""The search is never worse than round-to-nearest by its own measure, whatever the weights are."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm.quant.matrix.affine import plain_grid
from edgelm.quant.matrix.search import QUICK, THOROUGH, Effort, search, weighted_error
from edgelm.quant.scheme import AFFINE_BITS

DTYPES = {"float16": mx.float16, "bfloat16": mx.bfloat16, "float32": mx.float32}


def hostile(seed: int, kind: str) -> mx.array:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((6, 128)).astype(np.float32) * 0.05
    if kind == "outlier":
        weight[rng.integers(6), rng.integers(128)] = 40.0
    elif kind == "constant":
        weight[2] = 0.125
        weight[3] = 0.0
    elif kind == "positive":
        weight = np.abs(weight) + 1.0
    elif kind == "tiny":
        weight *= 1e-6
    return mx.array(weight)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    kind=st.sampled_from(("normal", "outlier", "constant", "positive", "tiny")),
    bits=st.sampled_from(AFFINE_BITS),
    dtype=st.sampled_from(sorted(DTYPES)),
    importance=st.sampled_from(("none", "random", "zero", "one column")),
    effort=st.sampled_from((QUICK, THOROUGH)),
)
def test_no_group_is_worse_than_rounded(
    seed: int, kind: str, bits: int, dtype: str, importance: str, effort: Effort
) -> None:
    weight = hostile(seed, kind).astype(DTYPES[dtype]).astype(mx.float32)
    seen = {
        "none": None,
        "random": mx.array(np.random.default_rng(seed).exponential(size=128).astype(np.float32)),
        "zero": mx.zeros((128,)),
        "one column": mx.zeros((128,)).at[5].add(3.0),
    }[importance]
    found = weighted_error(weight, search(weight, bits, 64, DTYPES[dtype], seen, effort), seen)
    plain = weighted_error(weight, plain_grid(weight, bits, 64, DTYPES[dtype]), seen)
    assert bool(mx.all(found <= plain * (1 + 1e-5) + 1e-30).item())


@pytest.mark.parametrize(("bits", "share"), [(2, 0.75), (3, 0.85), (4, 0.9)])
def test_it_is_clearly_better_on_gaussian_weights(bits: int, share: float) -> None:
    mx.random.seed(0)
    weight = mx.random.normal((64, 256))
    plain = weighted_error(weight, plain_grid(weight, bits, 64, mx.bfloat16), None).sum()
    quick = weighted_error(weight, search(weight, bits, 64, mx.bfloat16, effort=QUICK), None).sum()
    thorough = weighted_error(weight, search(weight, bits, 64, mx.bfloat16), None).sum()
    assert thorough.item() < quick.item() < share * plain.item()  # type: ignore[operator]


def test_importance_moves_the_error_to_columns_that_matter_less() -> None:
    mx.random.seed(0)
    weight = mx.random.normal((32, 64))
    importance = mx.where(mx.arange(64) < 8, 100.0, 1.0)
    weighted, even = search(weight, 3, 64, mx.float32, importance), search(weight, 3, 64, mx.float32)
    error = {name: mx.square(weight - grid.decode(grid.encode(weight)))[:, :8].sum().item()
             for name, grid in (("weighted", weighted), ("even", even))}  # fmt: skip
    assert error["weighted"] < 0.7 * error["even"]


def test_chunks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = mx.random.normal((10, 128))
    whole = search(weight, 4, 32, mx.bfloat16)
    monkeypatch.setattr("edgelm.quant.matrix.search.CHUNK_WEIGHTS", 384)
    parts = search(weight, 4, 32, mx.bfloat16)
    assert mx.array_equal(whole.scales, parts.scales)
    assert mx.array_equal(whole.biases, parts.biases)
