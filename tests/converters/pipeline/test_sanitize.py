"""What `sanitize` renames is read straight from the source; what it computes, in place too, is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from edgelm_converters.pipeline.sanitize import sanitized
from edgelm_converters.sources.checkpoint import LazyTensor

SHAPE = (4, 8)


def multiplied(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """As `mlx_lm/models/falcon_h1.py`: the object that comes out is the one that went in."""
    kept = {}
    for name, array in weights.items():
        if name == "a":
            array *= 3
        kept[f"model.{name}"] = array
    return kept


def written_into(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """One row of a tensor is set."""
    weights["a"][1] = 7.0
    return {f"model.{name}": array for name, array in weights.items()}


def evaluated(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """The sum is asked for before it is added: what cannot be traced."""
    weights["a"] += weights["a"].sum().item()
    return {f"model.{name}": array for name, array in weights.items()}


def renamed(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """Nothing is computed."""
    return {f"model.{name}": array for name, array in weights.items()}


class Network(nn.Module):
    """A network of which only `sanitize` counts."""

    def __init__(self, sanitize: Any) -> None:
        super().__init__()
        self.sanitize = sanitize


@pytest.mark.parametrize("sanitize", [multiplied, written_into, evaluated, renamed])
@pytest.mark.parametrize("is_lazy", [True, False])
def test_tensors_are_what_sanitize_makes_of_them(sanitize: Any, is_lazy: bool, tmp_path: Path) -> None:
    values = {name: np.random.default_rng(at).normal(size=SHAPE).astype("f4") for at, name in enumerate("ab")}
    source = {
        name: LazyTensor(SHAPE, mx.float32, lambda value=value: mx.array(value), "F32", is_lazy_array=is_lazy)
        for name, value in values.items()
    }
    found = sanitized(Network(sanitize), source, tmp_path, lambda: Network(sanitize))
    expected = sanitize({name: mx.array(value) for name, value in values.items()})
    assert found.tensors.keys() == expected.keys()
    for name, tensor in found.tensors.items():
        assert np.array_equal(np.array(tensor.read()), np.array(expected[name])), name
    assert found.tensors["model.b"].stored_as == "F32", "straight from the source"
    assert (found.tensors["model.a"].stored_as == "F32") == (sanitize is renamed)
    assert found.dropped == ()


def test_placeholders_of_huge_tensors_take_no_memory(tmp_path: Path) -> None:
    huge = LazyTensor((1 << 16, 1 << 20), mx.float32, lambda: mx.zeros(SHAPE), "F32")
    before = mx.get_active_memory()
    found = sanitized(Network(renamed), {"a": huge}, tmp_path, lambda: Network(renamed))
    assert found.tensors["model.a"].read is huge.read
    assert mx.get_active_memory() - before < 1 << 20
