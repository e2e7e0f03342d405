"""Packed rows give the loss and the gradients of the same rows alone, in every verified family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from tune_networks import moved_by_one_ulp

from edgelm.errors import UnsupportedError
from edgelm.tune.batches.batcher import BatchPlan, BatchPlanner, TrainingBatch
from edgelm.tune.step.packed_cache import VERIFIED, PackedCache, can_pack, packed_caches, require_packable
from tests.tune.conftest import CONFIGS, make_dataset

SIZES = [21, 9, 14, 5, 30, 12]
TARGETS = make_dataset(SIZES).target_count
LANES = ((0, 1, 2), (3, 4, 5))


def gradients_of(network: Any, caches: Any, batch: TrainingBatch) -> tuple[float, dict[str, mx.array]]:
    """The loss, as a share of all rows' mean over trained tokens, and its gradients by path."""

    def loss(network: Any) -> mx.array:
        logits = network(mx.array(batch.inputs), cache=caches(batch))
        losses = nn.losses.cross_entropy(logits, mx.array(batch.targets))
        return (losses * mx.array(batch.weights)).sum() / TARGETS

    value, gradients = nn.value_and_grad(network, loss)(network)
    return float(value), dict(tree_flatten(gradients))


def added(parts: list[dict[str, mx.array]]) -> dict[str, mx.array]:
    return {path: sum((part[path] for part in parts[1:]), parts[0][path]) for path in parts[0]}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_packed_is_unpacked(name: str, tiny: Callable[[str], tuple[Any, dict[str, Any]]]) -> None:
    network, config = tiny(name)
    batcher = BatchPlanner(make_dataset(SIZES), 128)
    packed = batcher.load(BatchPlan(LANES, 64, is_packed=True))
    assert packed.segments is not None
    segments = mx.array(packed.segments)
    loss, gradients = gradients_of(network, lambda _: packed_caches(network, config, segments), packed)

    alone = [batcher.load(BatchPlan(((row,),), size - 1)) for row, size in enumerate(SIZES)]

    def apart() -> list[tuple[float, dict[str, mx.array]]]:
        return [gradients_of(network, lambda _: None, batch) for batch in alone]

    assert loss == pytest.approx(sum(value for value, _ in apart()), rel=1e-5)
    expected = added([part for _, part in apart()])
    moved = moved_by_one_ulp(network, lambda: added([part for _, part in apart()]))
    for path, gradient in gradients.items():
        scale = max(1.0, float(mx.abs(expected[path]).max()))
        # A row that begins further right turns by larger angles, which round by more than the last place.
        bound = max(1e-5 * scale, 16 * moved[path])
        assert float(mx.abs(gradient - expected[path]).max()) < bound < 1e-3 * scale, path


def test_without_the_mask_the_loss_is_another(tiny: Callable[[str], tuple[Any, dict[str, Any]]]) -> None:
    network, config = tiny("llama")
    packed = BatchPlanner(make_dataset(SIZES), 128).load(BatchPlan(LANES, 64, is_packed=True))
    assert packed.segments is not None
    segments = mx.array(packed.segments)
    isolated, _ = gradients_of(network, lambda _: packed_caches(network, config, segments), packed)
    leaking, _ = gradients_of(network, lambda _: None, packed)
    assert abs(isolated - leaking) > 0.01


def test_every_verified_family_is_tried_here() -> None:
    assert {config["model_type"] for config in CONFIGS.values()} == set(VERIFIED)


def test_the_mask_honours_a_window() -> None:
    mask = PackedCache(mx.array([[1, 1, 1, 2, 2, 0]])).make_mask(6, window_size=2)
    assert mask.shape == (1, 1, 6, 6)
    assert mask[0, 0].tolist() == [
        [True, False, False, False, False, False],
        [True, True, False, False, False, False],
        [False, True, True, False, False, False],
        [False, False, False, True, False, False],
        [False, False, False, True, True, False],
        [False, False, False, False, False, True],
    ]


@pytest.mark.parametrize("family", ["mamba", "lfm2", "falcon_h1", "qwen3_next", None])
def test_recurrent_and_unknown_families_are_refused(family: str | None) -> None:
    assert not can_pack({"model_type": family})
    with pytest.raises(
        UnsupportedError, match=r"packing was not verified for .*, only for .*llama"
    ) as refused:
        require_packable({"model_type": family})
    assert refused.value.hint
