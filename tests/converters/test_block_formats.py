"""mxfp4, mxfp8 and nvfp4 as what a model becomes: beside routers that stay affine, and where their scales end."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import pytest
import torch
from checkpoints import write_checkpoint
from mlx_lm import load as mlx_lm_load
from mlx_lm.models.switch_layers import SwitchLinear

from edgelm.model.load import load
from edgelm.zoo.precision.dense import dequantize
from edgelm_converters.convert import convert
from edgelm_converters.pipeline.underflow import largest_error

SMALL = {"verify": False, "allow_mixed": True}
NVFP4 = {"group_size": 16, "bits": 4, "mode": "nvfp4"}


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("moe")
    write_checkpoint(source, "qwen3_moe", num_hidden_layers=2)
    return source


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["mxfp4", "mxfp8", "nvfp4"])
@pytest.mark.parametrize("quality", ["rtn", "fast"])
def test_routers_stay_affine_and_stock_mlx_lm_reads_the_result(
    mode: str, quality: str, experts: Path, tmp_path: Path
) -> None:
    made = convert(experts, tmp_path / "out", mode=mode, quality=quality, loss_tokens=0, **SMALL)
    settings = json.loads((made.directory / "config.json").read_text())["quantization"]
    assert settings["mode"] == mode
    router = {"group_size": 64, "bits": 8, "mode": "affine"}
    assert settings["model.layers.0.mlp.gate"] == settings["model.layers.1.mlp.gate"] == router
    network, *_ = mlx_lm_load(str(made.directory))
    ids = mx.array([[5, 6, 7, 8]])
    ours = load(made.directory, check_fit=False).network(ids)
    assert mx.abs(network(ids).astype(mx.float32) - ours.astype(mx.float32)).max().item() < 0.05


def scaled(source: Path, deviation: float) -> None:
    """A llama whose matrices have this standard deviation."""
    network = write_checkpoint(source, num_hidden_layers=2)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, deviation)
    network.save_pretrained(source)


@pytest.mark.slow
@pytest.mark.parametrize(("deviation", "kept"), [(0.001, False), (0.003, False), (0.05, True)])
def test_weights_that_nvfp4_cannot_hold_are_kept_otherwise_and_said(
    deviation: float, kept: bool, tmp_path: Path
) -> None:
    scaled(tmp_path / "source", deviation)
    made = convert(tmp_path / "source", tmp_path / "out", mode="nvfp4", **SMALL)
    form = "nvfp4 group 16" if kept else "4-bit group 64"
    assert made.manifest.receipt["tensors"][f"F32 → {form}"] == 16
    assert kept == (
        not any("nvfp4 cannot hold 16 tensors" in note for note in made.manifest.receipt["notes"])
    )
    mlx_lm_load(str(made.directory))


def test_the_error_of_experts_is_that_of_the_worst() -> None:
    mx.random.seed(0)
    weight = mx.random.normal((3, 16, 64))
    assert largest_error(weight, NVFP4) < 0.01
    weight[1] *= 1e-4
    assert largest_error(weight, NVFP4) == pytest.approx(1.0)
    assert largest_error(mx.zeros((4, 64)), NVFP4) == 0.0


def test_experts_with_a_scale_of_their_own_are_dense_as_mlx_means_them() -> None:
    """MLX multiplies by a global scale on a GPU alone, so a CPU runs such experts unpacked."""
    mx.random.seed(0)
    layer = SwitchLinear(64, 16, 3, bias=False)
    layer.weight = layer.weight * mx.array([1.0, 1e-3, 20.0])[:, None, None]
    expected = layer.weight

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = layer.to_quantized(**NVFP4, global_scale=True)

    network = Network()
    dequantize(network, mx.float32)
    lost = mx.square(network.experts.weight - expected).sum(axis=(1, 2)) / mx.square(expected).sum(
        axis=(1, 2)
    )
    assert lost.max().item() < 0.012
