"""The readers against the libraries that write the packings: transformers, and compressed-tensors where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import packed_checkpoints as packings
import pytest
import torch
from checkpoints import write_checkpoint
from packed_checkpoints import Packing, pack

from edgelm_converters.sources.huggingface.checkpoint import open_huggingface
from edgelm_converters.sources.packings.float8.codes import FLOAT8, table
from edgelm_converters.weights.packed import unpacked

UP = "model.layers.0.mlp.up_proj"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("plain") / "model"
    write_checkpoint(directory, num_hidden_layers=1)
    return directory


@pytest.mark.parametrize("kind", [kind for kind in FLOAT8 if kind.startswith("torch.")])
def test_every_byte_stands_for_what_torch_reads(kind: str) -> None:
    dtype = getattr(torch, kind.removeprefix("torch."))
    expected = torch.arange(256, dtype=torch.uint8).view(dtype).float().numpy()
    np.testing.assert_array_equal(np.array(table(FLOAT8[kind])), expected)


def test_every_exponent_stands_for_what_torch_reads() -> None:
    expected = torch.arange(256, dtype=torch.uint8).view(torch.float8_e8m0fnu).float().numpy()
    np.testing.assert_array_equal(np.array(table("e8m0")), expected)


def read_up(plain: Path, target: Path, packing: Packing, settings: dict[str, Any] | None) -> np.ndarray:
    pack(plain, target, packing, settings)
    checkpoint = open_huggingface(target)
    return np.array(unpacked(checkpoint.tensors, checkpoint.quantization)[f"{UP}.weight"].read())


@pytest.mark.parity
@pytest.mark.parametrize("case", ["blocks", "tensor", "exponents", "fp4"])
def test_transformers_dequantizes_to_the_same(case: str, plain: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    packing, scale = {
        "blocks": (packings.fp8_blocks(32, 16), "weight_scale_inv"),
        "tensor": (packings.fp8_rows("weight_scale_inv", per_tensor=True), "weight_scale_inv"),
        "exponents": (packings.mxfp8(), "weight_scale_inv"),
        "fp4": (packings.mxfp4(("weight", "scale"), signed=True), "scale"),
    }[case]
    got = read_up(plain, tmp_path / "source", packing, {"quant_method": "fp8", "weight_block_size": [32, 16]})
    stored = load_file(tmp_path / "source" / "model.safetensors")
    scales = stored[f"{UP}.{scale}"]
    expected = Fp8Dequantize(None)._dequantize_one(stored[f"{UP}.weight"], scales, torch.float32)
    np.testing.assert_array_equal(got, expected.numpy())


@pytest.mark.parity
def test_transformers_unpacks_blocks_of_mxfp4_to_the_same() -> None:
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    from edgelm_converters.sources.checkpoint import LazyTensor
    from edgelm_converters.sources.packings.float8.formats import SmallFloatFormat
    from edgelm_converters.sources.packings.packed_format import PackedSource, Presented

    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (2, 8, 3, 16)).astype(np.uint8)
    scales = rng.integers(110, 140, (2, 8, 3)).astype(np.uint8)

    def lazy(values: np.ndarray) -> LazyTensor:
        return LazyTensor(values.shape, mx.uint8, lambda: mx.array(values), "U8")

    name = "model.layers.0.mlp.experts.down_proj"
    source = PackedSource(
        {f"{name}_blocks": lazy(blocks), f"{name}_scales": lazy(scales)},
        {"quant_method": "mxfp4"},
        {},
        "here",
    )
    result = Presented()
    SmallFloatFormat().present(source, result)
    got = unpacked(result.tensors, result.quantization)[f"{name}.weight"].read()
    expected = convert_moe_packed_tensors(torch.tensor(blocks), torch.tensor(scales), dtype=torch.float32)
    np.testing.assert_array_equal(np.array(got), expected.swapaxes(1, 2).numpy())


COMPRESSED: dict[str, tuple[str, Packing, dict[str, Any]]] = {
    "int4": ("pack-quantized", packings.integers(4, 32), {"num_bits": 4, "group_size": 32, "strategy": "group"}),
    "int4 zero points": (
        "pack-quantized", packings.integers(4, 32, symmetric=False),
        {"num_bits": 4, "group_size": 32, "strategy": "group", "symmetric": False},
    ),
    "int3": ("pack-quantized", packings.integers(3, 32), {"num_bits": 3, "group_size": 32, "strategy": "group"}),
    "int5 rows, zero points": (
        "pack-quantized", packings.integers(5, None, symmetric=False),
        {"num_bits": 5, "strategy": "channel", "symmetric": False},
    ),
    "int8": ("pack-quantized", packings.integers(8, None), {"num_bits": 8, "strategy": "channel"}),
    "int8 plain": ("int-quantized", packings.integers(8, None, packed=False), {"num_bits": 8, "strategy": "channel"}),
    "fp8 rows": ("float-quantized", packings.fp8_rows(), {"num_bits": 8, "type": "float", "strategy": "channel"}),
    "fp8 tensor": (
        "naive-quantized", packings.fp8_rows(per_tensor=True), {"num_bits": 8, "type": "float", "strategy": "tensor"},
    ),
    "fp8 blocks": (
        "float-quantized", packings.fp8_blocks(48, 40, last="weight_scale"),
        {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [48, 40]},
    ),
    "mxfp8": (
        "mxfp8-quantized", packings.mxfp8("weight_scale", as_bytes=True),
        {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"},
    ),
    "nvfp4": (
        "nvfp4-pack-quantized", packings.nvfp4(),
        {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
    ),
    "mxfp4": (
        "mxfp4-pack-quantized", packings.mxfp4(), {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32},
    ),
    "mxfp6": (
        "mxfp6-pack-quantized", packings.mxfp6(), {"num_bits": 6, "type": "float", "strategy": "group", "group_size": 32},
    ),
}  # fmt: skip


@pytest.mark.peer
@pytest.mark.parametrize("case", COMPRESSED)
def test_compressed_tensors_decompresses_to_the_same(case: str, plain: Path, tmp_path: Path) -> None:
    """To one rounding: it multiplies in the dtype of its scales, which is half precision mostly."""
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from safetensors.torch import load_file

    form, packing, weights = COMPRESSED[case]
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))
    settings = {
        "quant_method": "compressed-tensors", "format": form,
        "config_groups": {"group_0": scheme.model_dump(mode="json")},
    }  # fmt: skip
    got = read_up(plain, tmp_path / "source", packing, settings)
    stored = load_file(tmp_path / "source" / "model.safetensors")
    parts = {
        name.removeprefix(f"{UP}."): tensor for name, tensor in stored.items() if name.startswith(f"{UP}.")
    }
    compressor = BaseCompressor.get_value_from_registry(form)
    value = compressor.decompress(dict(parts), scheme)["weight"]
    rounding = torch.finfo(value.dtype).eps
    expected = value.float().numpy()
    assert np.abs(got - expected).max() <= rounding * np.abs(expected).max()
    assert np.abs(expected).max() > 0.1
