"""Spilled or not, what was kept comes back."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from edgelm.quant.streams.activations import Activations


def test_what_exceeds_the_budget_lies_on_disk_and_comes_back_the_same(tmp_path: Path) -> None:
    kept = Activations(5000, tmp_path / "spill")
    trees = [
        {"hidden": mx.random.normal((4, 256)), "beside": {"layer-0": [mx.ones((2,)), None, 3]}}
        for _ in range(3)
    ]
    for index, tree in enumerate(trees):
        kept.put(("source", index), tree)
    assert kept.held_bytes <= 5000
    assert kept.spilled == 2
    for index, tree in enumerate(trees):
        found = kept.get(("source", index))
        assert mx.array_equal(found["hidden"], tree["hidden"])
        assert mx.array_equal(found["beside"]["layer-0"][0], tree["beside"]["layer-0"][0])
        assert found["beside"]["layer-0"][1:] == [None, 3]
    for index in range(3):
        kept.drop(("source", index))
    assert kept.held_bytes == 0
    assert list((tmp_path / "spill").iterdir()) == []


def test_a_new_value_takes_the_place_of_the_old(tmp_path: Path) -> None:
    kept = Activations(100, tmp_path)
    for value in (1.0, 2.0):
        kept.put(("source", 0), {"hidden": mx.full((100,), value), "beside": {}})
    assert kept.spilled == 1
    assert kept.get(("source", 0))["hidden"][0].item() == 2.0
