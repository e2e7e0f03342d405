"""Every format: what is packed, what it stands for, and that searching never loses to rounding."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from edgelm.quant.matrix.formats import dequantized, lookup, rounded, searched
from edgelm.quant.scheme import Scheme

MODES = [Scheme("affine", 3, 64), Scheme("affine", 5, 32), Scheme("mxfp4"), Scheme("nvfp4"), Scheme("mxfp8")]


def squared_error(weight: mx.array, packed: dict[str, mx.array], settings: dict[str, Any]) -> float:
    return float(mx.square(dequantized(packed, settings) - weight.astype(mx.float32)).sum().item())  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", MODES, ids=lambda scheme: f"{scheme.mode}-{scheme.bits}")
def test_searched_weights_have_the_form_of_rounded_ones_and_less_error(scheme: Scheme) -> None:
    mx.random.seed(3)
    weight = (mx.random.normal((24, 128)) * 0.1).astype(mx.bfloat16)
    plain, found = rounded(weight, scheme.settings), searched(weight, scheme.settings)
    assert {kind: (array.shape, array.dtype) for kind, array in found.items()} == {
        kind: (array.shape, array.dtype) for kind, array in plain.items()
    }
    share = squared_error(weight, found, scheme.settings) / squared_error(weight, plain, scheme.settings)
    assert share < (1.0001 if scheme.mode == "mxfp8" else 0.97)


@pytest.mark.parametrize("mode", ["mxfp4", "nvfp4"])
def test_blocks_that_are_all_zero_stay_zero(mode: str) -> None:
    settings = Scheme(mode).settings
    assert bool(mx.all(dequantized(searched(mx.zeros((4, 64)), settings), settings) == 0).item())


def test_experts_are_searched_one_by_one_under_their_own_importance() -> None:
    mx.random.seed(0)
    weight, importance = mx.random.normal((3, 8, 64)), mx.random.uniform(shape=(3, 64))
    settings = Scheme("affine", 4, 64).settings
    stacked = searched(weight, settings, importance)
    alone = searched(weight[1], settings, importance[1])
    assert all(mx.array_equal(stacked[kind][1], alone[kind]) for kind in alone)


def test_a_lookup_unpacks_the_rows_that_are_asked_for() -> None:
    weight, settings = mx.random.normal((20, 64)), Scheme("affine", 4, 32).settings
    packed = searched(weight, settings)
    ids = mx.array([[3, 3, 19]])
    assert mx.array_equal(lookup(packed, settings)(ids), dequantized(packed, settings)[ids])
