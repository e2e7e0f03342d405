"""Weights in a packing that is not read: one line that names the format, at every door, and no list of tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import torch
from checkpoints import write_checkpoint

from edgelm.errors import UnsupportedError
from edgelm.model.described import describe_model
from edgelm.model.load import load
from edgelm_converters.convert import convert

UP = "model.layers.0.mlp.up_proj"
U8, I32, F32 = mx.uint8, mx.int32, mx.float32
Tensors = dict[str, tuple[tuple[int, ...], mx.Dtype]]

CASES: dict[str, tuple[dict[str, Any] | None, Tensors, str]] = {
    "aqlm": ({"quant_method": "aqlm"}, {"codes": ((128, 8, 1), mx.int16), "codebooks": ((1, 256, 1, 8), F32)}, "AQLM"),
    "quanto": ({"quant_method": "quanto", "weights": "int4"}, {"weight._data": ((128, 64), U8)}, r"Quanto \(int4\)"),
    "eetq": ({"quant_method": "eetq"}, {"weight": ((64, 128), mx.int8), "weight_scales": ((128,), F32)}, "EETQ"),
    "spqr": ({"quant_method": "spqr"}, {"dense_weights": ((99,), mx.int32)}, "SpQR"),
    "vptq": ({"quant_method": "vptq"}, {"centroids.weight": ((1, 256), F32)}, "VPTQ"),
    "unheard of": ({"quant_method": "foo9"}, {"weight": ((128, 8), I32)}, "foo9"),
}  # fmt: skip

CONVERTED: dict[str, tuple[dict[str, Any] | None, Tensors, str]] = {
    "fp8": (
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        {"weight": ((128, 64), U8), "weight_scale_inv": ((1, 1), F32)}, r"FP8 in blocks of 128 x 128",
    ),
    "fbgemm": ({"quant_method": "fbgemm_fp8"}, {"weight": ((128, 64), U8), "weight_scale": ((128, 1), F32)}, "FBGEMM FP8"),
    "ct fp8": (
        {"quant_method": "compressed-tensors", "format": "float-quantized"},
        {"weight": ((128, 64), U8), "weight_scale": ((128, 1), F32)}, r"compressed-tensors \(float-quantized\)",
    ),
    "ct int4": (
        {"quant_method": "compressed-tensors", "format": "pack-quantized"},
        {"weight_packed": ((128, 8), I32), "weight_scale": ((128, 2), F32)}, r"compressed-tensors \(pack-quantized\)",
    ),
    "fp8 alone": (None, {"weight": ((128, 64), U8), "weight_scale_inv": ((1, 1), F32)}, "FP8"),
    "bnb nf4": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        {"weight": ((4096, 1), U8), "weight.absmax": ((128,), F32)}, r"bitsandbytes \(nf4\)",
    ),
    "bnb int8": ({"load_in_8bit": True}, {"weight": ((128, 64), mx.int8), "SCB": ((128,), F32)}, "bitsandbytes"),
    "no config": (None, {"weight": ((4096, 1), U8), "weight.absmax": ((128,), F32)}, "bitsandbytes"),
    "torchao": (
        {"quant_method": "torchao", "quant_type": "int4_weight_only"}, {"_weight_qdata": ((128, 64), mx.int8)},
        "torchao",
    ),
    "hqq": ({"quant_method": "hqq"}, {"W_q": ((4096, 1), U8)}, "HQQ"),
    "mxfp4": ({"quant_method": "mxfp4"}, {"weight_blocks": ((128, 2, 16), U8), "weight_scales": ((128, 2), U8)}, "MXFP4"),
    "scale alone": (None, {"weight": ((128, 64), U8), "weight_scale": ((1,), F32)}, "FP8"),
}  # fmt: skip
"""What is converted for any architecture, and not run as it is."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("plain") / "model"
    write_checkpoint(directory, num_hidden_layers=1)
    return directory


def packed(plain: Path, target: Path, said: dict[str, Any] | None, own: Tensors) -> Path:
    import shutil

    shutil.copytree(plain, target)
    held: dict[str, Any] = dict(mx.load(str(plain / "model.safetensors")))  # type: ignore[arg-type]
    mx.eval(held)
    del held[f"{UP}.weight"]
    held |= {f"{UP}.{name}": mx.zeros(shape, dtype) for name, (shape, dtype) in own.items()}
    mx.save_safetensors(str(target / "model.safetensors"), held, {"format": "pt"})
    if said is not None:
        config = json.loads((target / "config.json").read_text())
        (target / "config.json").write_text(json.dumps({**config, "quantization_config": said}))
    return target


@pytest.mark.parametrize("case", CASES)
def test_the_format_is_named_at_every_door(case: str, plain: Path, tmp_path: Path, home: Path) -> None:
    said, own, name = CASES[case]
    source = packed(plain, tmp_path / "source", said, own)
    for door in (convert, load, lambda path: describe_model(str(path))):
        with pytest.raises(
            UnsupportedError, match=f"source is packed as {name}.*, which edgelm does not read"
        ) as caught:
            door(source)
        assert "up_proj" not in str(caught.value)
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("case", CONVERTED)
def test_what_is_only_converted_is_not_run_and_the_command_is_named(
    case: str, plain: Path, tmp_path: Path, home: Path
) -> None:
    said, own, name = CONVERTED[case]
    source = packed(plain, tmp_path / "a source", said, own)
    for door in (load, lambda path: describe_model(str(path))):
        with pytest.raises(
            UnsupportedError, match=f"a source is packed as {name}.*, which edgelm does not run, but converts"
        ) as caught:
            door(source)
        assert caught.value.hint == f"edgelm convert '{source}'"


def test_modelopt_says_it_in_a_file_of_its_own(plain: Path, tmp_path: Path, home: Path) -> None:
    own: Tensors = {"weight": ((128, 32), U8), "weight_scale": ((128, 4), U8), "weight_scale_2": ((), F32)}
    source = packed(plain, tmp_path / "source", None, own)
    (source / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "NVFP4"}}))
    with pytest.raises(UnsupportedError, match=r"packed as NVIDIA ModelOpt \(NVFP4\)"):
        load(source)


def test_pytorch_files_are_asked_too(plain: Path, tmp_path: Path, home: Path) -> None:
    import shutil

    shutil.copytree(plain, tmp_path / "source", ignore=shutil.ignore_patterns("*.safetensors"))
    tensors = {
        f"{UP}.weight": torch.zeros(4096, 1, dtype=torch.uint8),
        f"{UP}.weight.absmax": torch.zeros(128),
    }
    torch.save(tensors, tmp_path / "source" / "pytorch_model.bin")
    with pytest.raises(UnsupportedError, match="source is packed as bitsandbytes"):
        convert(tmp_path / "source")


def test_a_config_that_speaks_of_a_packing_beside_plain_weights_is_harmless(
    plain: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(plain, tmp_path / "source")
    config = json.loads((plain / "config.json").read_text())
    said = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (tmp_path / "source" / "config.json").write_text(json.dumps({**config, "quantization_config": said}))
    made = convert(tmp_path / "source", tmp_path / "made", mode="none", dtype="float32")
    assert made.manifest.receipt["comparison"]["mean_kl"] < 1e-6
    assert "quantization_config" not in json.loads((made.directory / "config.json").read_text())
