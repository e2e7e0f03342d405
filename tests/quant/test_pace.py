"""How much is handed to a GPU at once: fewer waits, and the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from edgelm import device
from edgelm.quant.matrix import formats
from edgelm.quant.matrix.curvature import curvature
from edgelm.quant.matrix.gptq import fit
from edgelm.quant.matrix.search import CHUNK_WEIGHTS, QUICK, THOROUGH, search

GPU = device.conversion_pace("metal")
WEIGHT = mx.array(
    np.random.default_rng(0).standard_normal((4 * CHUNK_WEIGHTS // 512, 512)).astype(np.float32)
)
IMPORTANCE = mx.array(np.random.default_rng(1).random(512).astype(np.float32))


def same(one: dict[str, mx.array], other: dict[str, mx.array]) -> bool:
    return one.keys() == other.keys() and all(bool(mx.array_equal(one[key], other[key])) for key in one)


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, it sets the pace of a GPU."""
    return lambda: monkeypatch.setattr(device, "current_pace", lambda: GPU)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every `mx.eval`."""
    counted: list[int] = []
    real = mx.eval

    def evaluate(*arrays: Any) -> None:
        counted.append(len(arrays))
        real(*arrays)

    monkeypatch.setattr(mx, "eval", evaluate)
    return counted


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"bits": 4, "group_size": 64}, {"bits": 3, "group_size": 32},
        {"bits": 4, "group_size": 32, "mode": "mxfp4"}, {"bits": 4, "group_size": 16, "mode": "nvfp4"},
    ],
    ids=str,
)  # fmt: skip
def test_larger_chunks_and_fewer_waits_change_no_bit(
    settings: dict[str, Any], on_gpu: Callable[[], None]
) -> None:
    weight = WEIGHT[:1200].astype(mx.float16)
    slow = formats.searched(weight, settings, IMPORTANCE, QUICK)
    on_gpu()
    assert same(slow, formats.searched(weight, settings, IMPORTANCE, QUICK))


@pytest.mark.parametrize("factor", [1, 2, 3, 16])
def test_a_search_is_the_same_in_chunks_of_any_size(factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grids = []
    for chunks, candidates in ((1, 1), (factor, 4)):
        pace = device.Pace(chunks, candidates, 0)
        monkeypatch.setattr(device, "current_pace", lambda pace=pace: pace)
        grids.append(search(WEIGHT[:1100], 4, 64, mx.bfloat16, IMPORTANCE, THOROUGH))
    assert mx.array_equal(grids[0].scales, grids[1].scales)
    assert mx.array_equal(grids[0].biases, grids[1].biases)


def test_gptq_is_the_same_with_fewer_waits(on_gpu: Callable[[], None], waits: list[int]) -> None:
    rng = np.random.default_rng(2)
    rows = mx.array(rng.standard_normal((600, 256)).astype(np.float32))
    weight = mx.array(rng.standard_normal((96, 256)).astype(np.float32)) * 0.05
    bent = curvature(rows.T @ rows)
    waits.clear()
    slow = fit(weight, bent, 3, 64, mx.float16).packed()
    on_cpu = len(waits)
    on_gpu()
    waits.clear()
    assert same(slow, fit(weight, bent, 3, 64, mx.float16).packed())
    assert len(waits) < on_cpu / 2


@pytest.mark.slow
def test_a_search_off_the_cpu_waits_a_few_times_for_four_million_weights(
    on_gpu: Callable[[], None], waits: list[int]
) -> None:
    search(WEIGHT, 4, 64, mx.float16, None, THOROUGH)  # a million weights
    on_cpu = len(waits)
    on_gpu()
    waits.clear()
    search(WEIGHT, 4, 64, mx.float16, None, THOROUGH)
    assert on_cpu >= 4 * 19  # four chunks, a wait for every candidate
    assert len(waits) <= 6
    assert GPU.chunks * CHUNK_WEIGHTS == 1 << 22
