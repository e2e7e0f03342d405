"""Layers whose width the config does not name: loaded and converted by the same reading of their shapes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from edgelm.model.load import load
from edgelm.zoo.weights.bits import measure_bits_per_weight
from edgelm_converters.convert import convert

LAYER = "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def narrow(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four bits in groups of 32 throughout."""
    target = tmp_path_factory.mktemp("narrow") / "model"
    return convert(
        published, target, bits=4, group_size=32, quality="rtn", dtype="float32", verify=False
    ).directory


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bits", "group_size", "mode"),
    [(8, 32, "affine"), (8, 64, "affine"), (3, 32, "affine"), (2, 64, "affine"), (4, 32, "mxfp4")],
)
def test_a_width_that_only_the_shapes_tell(
    bits: int, group_size: int, mode: str, narrow: Path, published: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "mixed"
    shutil.copytree(narrow, directory)
    held: dict[str, Any] = dict(mx.load(str(directory / "model.safetensors")))  # type: ignore[arg-type]
    weight = mx.load(str(published / "model.safetensors"))[f"{LAYER}.weight"]  # type: ignore[index, call-overload]
    for part in ("weight", "scales", "biases"):
        held.pop(f"{LAYER}.{part}")
    parts = mx.quantize(weight, group_size, bits, mode=mode)
    held |= {
        f"{LAYER}.{name}": part for name, part in zip(("weight", "scales", "biases"), parts, strict=False)
    }
    mx.eval(held)
    mx.save_safetensors(str(directory / "model.safetensors"), held, {"format": "mlx"})

    made = convert(directory, tmp_path / "made")
    config = json.loads((made.directory / "config.json").read_text())
    assert config["quantization"][LAYER] == {"bits": bits, "group_size": group_size, "mode": mode}
    assert made.manifest.receipt["comparison"]["mean_kl"] < 1e-6
    ids = mx.array([[5, 6, 7, 8]])
    expected, got = (
        np.array(load(path, check_fit=False).network(ids)) for path in (directory, made.directory)
    )
    assert np.abs(expected - got).max() < 1e-5
    dense = convert(directory, tmp_path / "dense", mode="none", dtype="float32")
    assert dense.manifest.receipt["comparison"]["mean_kl"] < 1e-6


def test_bits_per_weight_of_a_width_that_is_not_named(narrow: Path, published: Path, tmp_path: Path) -> None:
    directory = tmp_path / "mixed"
    shutil.copytree(narrow, directory)
    held: dict[str, Any] = dict(mx.load(str(directory / "model.safetensors")))  # type: ignore[arg-type]
    weight = mx.load(str(published / "model.safetensors"))[f"{LAYER}.weight"]  # type: ignore[index, call-overload]
    parts = mx.quantize(weight, 32, 8)
    held |= {
        f"{LAYER}.{name}": part for name, part in zip(("weight", "scales", "biases"), parts, strict=True)
    }
    mx.eval(held)
    mx.save_safetensors(str(directory / "model.safetensors"), held, {"format": "mlx"})
    config = json.loads((directory / "config.json").read_text())
    named = {**config, "quantization": {**config["quantization"], LAYER: {"bits": 8, "group_size": 32}}}
    assert measure_bits_per_weight(directory, config) == measure_bits_per_weight(directory, named)
