"""GPTQ on searched grids: its factor, what it gains, and that no row is worse than rounded."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm.quant.matrix.affine import plain_grid
from edgelm.quant.matrix.curvature import alignment, curvature
from edgelm.quant.matrix.gptq import fit
from edgelm.quant.matrix.search import search


def correlated(rows: int = 600, columns: int = 128, seed: int = 0) -> mx.array:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((rows, 12)) @ rng.standard_normal((12, columns))
    return mx.array((shared + 0.5 * rng.standard_normal((rows, columns))).astype(np.float32))


def loss(weight: mx.array, made: mx.array, inputs: mx.array) -> float:
    return float(mx.square(inputs @ (weight - made).T).sum().item())  # type: ignore[arg-type]


def test_the_factor_is_one_of_the_inverse_in_the_order_of_excitation() -> None:
    inputs = correlated()
    bent = curvature(inputs.T @ inputs)
    order = np.array(bent.order)
    matrix = np.array(bent.matrix, dtype=np.float64)[np.ix_(order, order)]
    factor = np.array(bent.factor, dtype=np.float64)
    assert np.allclose(factor.T @ factor @ matrix, np.eye(128), atol=1e-4)
    assert np.allclose(factor, np.triu(factor))
    assert (np.diff(np.array(bent.importance)[order]) <= 0).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_it_loses_much_less_output_than_the_weighted_search(bits: int) -> None:
    mx.random.seed(1)
    weight, inputs = mx.random.normal((96, 128)), correlated()
    bent = curvature(inputs.T @ inputs)
    made = fit(weight, bent, bits, 64, mx.bfloat16)
    grid = search(weight, bits, 64, mx.bfloat16, bent.importance)
    assert loss(weight, made.weight, inputs) < 0.6 * loss(weight, grid.decode(grid.encode(weight)), inputs)
    unpacked = mx.dequantize(*(made.packed()[k].astype(mx.float32) if k != "weight" else made.packed()[k]
                               for k in ("weight", "scales", "biases")), 64, bits)  # fmt: skip
    assert mx.allclose(unpacked, made.weight, atol=1e-4)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000), bits=st.sampled_from((2, 3, 4, 6, 8)), rows=st.sampled_from((0, 3, 40, 400))
)
def test_no_row_is_worse_than_rounded(seed: int, bits: int, rows: int) -> None:
    """Also with fewer inputs than columns, and with none."""
    mx.random.seed(seed)
    weight = mx.random.normal((12, 128)).astype(mx.bfloat16).astype(mx.float32)
    inputs = correlated(rows, seed=seed) if rows else mx.zeros((1, 128))
    bent = curvature(inputs.T @ inputs)
    grid = plain_grid(weight, bits, 64, mx.bfloat16)
    plain = bent.loss(weight - grid.decode(grid.encode(weight)))
    made = fit(weight, bent, bits, 64, mx.bfloat16)
    assert bool(mx.all(bent.loss(weight - made.weight) <= plain * (1 + 1e-4) + 1e-12).item())


def test_alignment_brings_outputs_half_way_to_the_sources() -> None:
    mx.random.seed(2)
    weight, source = mx.random.normal((16, 64)), correlated(2000, 64)
    drifted = source @ (mx.eye(64) + 0.1 * mx.random.normal((64, 64)))
    move = alignment(drifted.T @ drifted, source.T @ drifted, damping=1e-6)
    assert move is not None
    wanted = source @ weight.T
    before = mx.square(drifted @ weight.T - wanted).sum().item()
    after = mx.square(drifted @ (weight + weight @ move).T - wanted).sum().item()
    assert after == pytest.approx(before / 4, rel=0.05)  # half the distance, a quarter of its square


@pytest.mark.slow
def test_rows_in_parts_are_the_rows_together(monkeypatch: pytest.MonkeyPatch) -> None:
    mx.random.seed(3)
    weight, inputs = mx.random.normal((40, 128)), correlated()
    bent = curvature(inputs.T @ inputs)
    whole = fit(weight, bent, 3, 64, mx.bfloat16)
    monkeypatch.setattr("edgelm.quant.matrix.gptq.ROWS", 16)
    parts = fit(weight, bent, 3, 64, mx.bfloat16)
    assert mx.mean((whole.codes == parts.codes).astype(mx.float32)).item() > 0.99  # type: ignore[operator]
    assert parts.loss.sum().item() == pytest.approx(whole.loss.sum().item(), rel=1e-2)
