"""Budgets of sources that arrive quantized: what they hold is among the choices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from checkpoints import write_checkpoint

from edgelm_converters.convert import Converted, convert

FEW: dict[str, Any] = {"calibration_tokens": 1024, "loss_tokens": 0}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama in 4 bits and groups of 32, as MLX-LM publishes one."""
    root = tmp_path_factory.mktemp("packed")
    write_checkpoint(root / "source", "llama3")
    made = convert(root / "source", root / "packed", bits=4, group_size=32, quality="rtn", verify=False)
    return made.directory


def weights(directory: Path) -> dict[str, mx.array]:
    return dict(mx.load(str(directory / "model.safetensors")))  # type: ignore[arg-type]


def loss(made: Converted) -> float:
    return float(made.manifest.receipt["comparison"]["mean_kl"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "budget",
    [{"fit": "M4 Max 64GB"}, {"size": "1GB"}, {"bpw": 5.2}, {"bpw": 9.0, "quality": "good"}],
    ids=str,
)
def test_a_budget_that_holds_a_packed_source_leaves_it_as_it_is(
    budget: dict[str, Any], packed: Path, tmp_path: Path, home: Path
) -> None:
    made = convert(packed, tmp_path / "out", **budget)
    found, source = weights(made.directory), weights(packed)
    assert found.keys() == source.keys()
    assert all(mx.array_equal(found[name], source[name]) for name in source)
    assert loss(made) < 1e-6


@pytest.mark.slow
def test_a_budget_below_a_packed_source_keeps_what_it_can_and_is_kept(
    packed: Path, tmp_path: Path, home: Path
) -> None:
    whole = sum(array.nbytes for array in weights(packed).values())
    made = convert(packed, tmp_path / "out", size=f"{whole - 2000}B", **FEW)
    assert (made.manifest.size_bytes or 0) <= whole - 2000
    tensors = made.manifest.receipt["tensors"]
    assert any("(kept)" in label for label in tensors)
    assert any(("(kept)" not in label and "→ 3-bit" in label) or "→ 4-bit" in label for label in tensors)
    narrow = convert(packed, tmp_path / "narrow", size=f"{whole - 2000}B", mode="affine", **FEW)
    assert loss(made) <= loss(narrow)


def test_a_mode_that_is_asked_for_quantizes_anew(packed: Path, tmp_path: Path, home: Path) -> None:
    made = convert(packed, tmp_path / "out", fit="M2 Air 8GB", mode="affine", verify=False)
    assert not any("(kept)" in label for label in made.manifest.receipt["tensors"])
