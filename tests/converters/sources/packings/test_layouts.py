"""Every layout of packed weights means what its documentation says: bit for bit, kept where MLX has the form."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import packed_checkpoints as packings
import pytest
import torch
from checkpoints import write_checkpoint
from packed_checkpoints import Packing, pack

from edgelm.errors import EdgeLMError, FormatError, UnsupportedError
from edgelm_converters.sources.checkpoint import LazyTensor, SourceCheckpoint
from edgelm_converters.sources.huggingface.checkpoint import open_huggingface
from edgelm_converters.weights.packed import unpacked

Settings = dict[str, Any]


def groups(form: str, **weights: Any) -> Settings:
    scheme = {"targets": ["Linear"], "weights": weights}
    return {
        "quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": scheme}, "ignore": ["lm_head"],
    }  # fmt: skip


FP8 = {"quant_method": "fp8"}
ACT_ORDER = torch.tensor([3, 1, 0, 2]).repeat_interleave(8).repeat(4)[:64]
FLOATS: dict[str, tuple[Packing, Settings | None, str | None]] = {
    "blocks of 128, all of them cut": (packings.fp8_blocks(128, 128), {**FP8, "weight_block_size": [128, 128]}, None),
    "blocks with an edge": (packings.fp8_blocks(48, 40), {**FP8, "weight_block_size": [48, 40]}, None),
    "blocks that nothing announces": (packings.fp8_blocks(16, 32), None, None),
    "blocks of powers in E8M0": (packings.mxfp8(), FP8, "mxfp8"),
    "blocks of powers in bytes": (packings.mxfp8("weight_scale", as_bytes=True), groups("mxfp8-quantized"), "mxfp8"),
    "blocks of powers in float32": (
        packings.fp8_blocks(32, 32, powers=True), {**FP8, "weight_block_size": [32, 32], "scale_fmt": "ue8m0"}, "mxfp8",
    ),
    "narrow blocks of powers": (
        packings.fp8_blocks(16, 16, powers=True), {**FP8, "weight_block_size": [16, 16], "scale_fmt": "ue8m0"}, None,
    ),
    "E5M2": (packings.fp8_blocks(64, 64, kind=torch.float8_e5m2), {**FP8, "weight_block_size": [64, 64]}, None),
    "fnuz": (packings.fp8_blocks(64, 64, kind=torch.float8_e4m3fnuz), {**FP8, "weight_block_size": [64, 64]}, None),
    "DeepSeek-V4's name": (packings.fp8_blocks(32, 32, last="scale"), {**FP8, "weight_block_size": [32, 32]}, None),
    "Mistral's name": (packings.fp8_rows("qscale_weight", per_tensor=True), FP8, None),
    "a tensor": (packings.fp8_rows("weight_scale_inv", per_tensor=True, dtype=torch.bfloat16), FP8, None),
    "fbgemm": (packings.fp8_rows(), {"quant_method": "fbgemm_fp8"}, None),
    "compressed-tensors rows": (packings.fp8_rows(dtype=torch.bfloat16), groups("float-quantized", num_bits=8), None),
    "compressed-tensors tensors": (packings.fp8_rows(per_tensor=True), groups("naive-quantized", num_bits=8), None),
    "compressed-tensors blocks": (
        packings.fp8_blocks(48, 40, last="weight_scale"),
        groups("float-quantized", num_bits=8, strategy="block", block_structure=[48, 40]), None,
    ),
    "quark": (packings.fp8_rows(per_tensor=True), {"quant_method": "quark", "export": {}}, None),
    "ModelOpt FP8": (packings.fp8_rows(per_tensor=True), {"quant_method": "modelopt", "quant_algo": "FP8"}, None),
    "ModelOpt NVFP4": (packings.nvfp4(modelopt=True), {"quant_method": "modelopt", "quant_algo": "NVFP4"}, None),
    "NVFP4": (packings.nvfp4(), groups("nvfp4-pack-quantized", num_bits=4), None),
    "NVFP4 under a scale of one": (packings.nvfp4(unit=True), groups("nvfp4-pack-quantized", num_bits=4), "nvfp4"),
    "MXFP4": (packings.mxfp4(), groups("mxfp4-pack-quantized", num_bits=4), "mxfp4"),
    "MXFP6": (packings.mxfp6(), groups("mxfp6-pack-quantized", num_bits=6), None),
    "DeepSeek-V4's experts": (packings.mxfp4(("weight", "scale"), signed=True), {**FP8, "expert_dtype": "fp4"}, "mxfp4"),
    "tensors alone": (packings.fp8_rows(), None, None),
}  # fmt: skip

INTEGERS: dict[str, tuple[Packing, Settings, str | None]] = {
    **{
        f"{bits} bits": (packings.integers(bits, 32), groups("pack-quantized", num_bits=bits), "affine")
        for bits in (2, 3, 4, 5, 6, 8)
    },
    "7 bits": (packings.integers(7, 32), groups("pack-quantized", num_bits=7), None),
    "1 bit": (packings.integers(1, 32), groups("pack-quantized", num_bits=1), None),
    "groups of 64": (packings.integers(4, 64), groups("pack-quantized", num_bits=4), "affine"),
    "groups of 16": (packings.integers(4, 16), groups("pack-quantized", num_bits=4), None),
    "rows": (packings.integers(4, None), groups("pack-quantized", num_bits=4), "affine"),
    "zero points": (packings.integers(4, 32, symmetric=False), groups("pack-quantized", num_bits=4), "affine"),
    "zero points of 3 bits": (packings.integers(3, 32, symmetric=False), groups("pack-quantized", num_bits=3), "affine"),
    "zero points of 8 bits": (packings.integers(8, 32, symmetric=False), groups("pack-quantized", num_bits=8), "affine"),
    "padded words": (packings.integers(3, 32, padded=True), groups("pack-quantized", num_bits=3), None),
    "zero points of rows": (packings.integers(4, None, symmetric=False), groups("pack-quantized", num_bits=4), "affine"),
    "float16": (packings.integers(4, 32, dtype=torch.float16), groups("pack-quantized", num_bits=4), "affine"),
    "float16 with zero points": (
        packings.integers(4, 32, symmetric=False, dtype=torch.float16), groups("pack-quantized", num_bits=4), "affine",
    ),
    "int8 rows": (packings.integers(8, None, packed=False), groups("int-quantized", num_bits=8), "affine"),
    "int8 zero points": (
        packings.integers(8, None, packed=False, symmetric=False), groups("int-quantized", num_bits=8), "affine",
    ),
    "int4 in int8": (packings.integers(4, 32, packed=False), groups("int-quantized", num_bits=4), "affine"),
}  # fmt: skip
LAYOUTS: dict[str, tuple[Packing, Settings | None, str | None]] = {**FLOATS, **INTEGERS}
"""Name → (how it is packed, quantization_config, the mode in which MLX keeps it; None if it does not)."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("plain") / "model"
    write_checkpoint(directory, num_hidden_layers=1)
    return directory


def values_of(checkpoint: SourceCheckpoint) -> Mapping[str, LazyTensor]:
    return unpacked(checkpoint.tensors, checkpoint.quantization)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_what_the_layout_says(layout: str, plain: Path, tmp_path: Path) -> None:
    packing, settings, mode = LAYOUTS[layout]
    meant = pack(plain, tmp_path / "source", packing, settings)
    checkpoint = open_huggingface(tmp_path / "source")
    values = values_of(checkpoint)
    for name, weight in meant.items():
        assert values[name].shape == tuple(weight.shape)
        got = values[name].read()
        assert (got.shape, got.dtype) == (values[name].shape, mx.float32)
        np.testing.assert_array_equal(np.array(got), weight.numpy(), err_msg=name)
        if values[name].read_rows is not None:
            for start, stop in ((0, 5), (5, 17), (17, len(weight))):
                part = np.array(values[name].read_rows(start, stop))
                np.testing.assert_array_equal(part, weight[start:stop].numpy(), err_msg=name)
    paths = {name.removesuffix(".weight") for name in meant}
    kept, anew = set(checkpoint.quantization), set(checkpoint.requantized)
    assert (kept, anew) == ((paths, set()) if mode else (set(), paths))
    assert {settings["mode"] for settings in checkpoint.quantization.values()} == ({mode} if mode else set())
    left = {
        name for name in checkpoint.tensors if name.rpartition(".")[2] not in ("weight", "scales", "biases")
    }
    assert not left, "the parts of a packing are used up"
    assert "quantization_config" not in checkpoint.config
    assert len(checkpoint.notes) >= 1
    for name, tensor in checkpoint.tensors.items():
        array = tensor.read()
        assert (tuple(array.shape), array.dtype) == (tensor.shape, tensor.dtype), name


def test_columns_that_were_quantized_in_another_order(plain: Path, tmp_path: Path) -> None:
    """Act-order: `weight_g_idx` has the group of every column. Trivial ones are no order."""
    own = r"\.(q|k|v|gate|up)_proj\.weight$"  # rows of 64
    meant = pack(
        plain, tmp_path / "a", packings.integers(4, 16, order=ACT_ORDER), groups("pack-quantized"), own
    )
    checkpoint = open_huggingface(tmp_path / "a")
    for name, weight in meant.items():
        np.testing.assert_array_equal(np.array(values_of(checkpoint)[name].read()), weight.numpy())
    trivial = torch.arange(64) // 32
    pack(plain, tmp_path / "b", packings.integers(4, 32, order=trivial), groups("pack-quantized"), own)
    assert open_huggingface(tmp_path / "b").quantization


def test_what_scales_activations_is_left_out_and_told(plain: Path, tmp_path: Path) -> None:
    def packing(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        parts, meant = packings.fp8_rows("weight_scale_inv", per_tensor=True)(weight)
        return {**parts, "activation_scale": torch.tensor(2.0), "k_scale": torch.tensor(1.0)}, meant

    meant = pack(plain, tmp_path / "source", packing, FP8)
    checkpoint = open_huggingface(tmp_path / "source")
    assert not any(name.endswith(("activation_scale", "k_scale")) for name in checkpoint.tensors)
    assert any("activations and KV cache are not quantized" in note for note in checkpoint.notes)
    assert set(meant) <= set(checkpoint.tensors)


def test_settings_may_lie_in_the_text_config_or_beside(plain: Path, tmp_path: Path) -> None:
    for where in ("text", "beside"):
        meant = pack(plain, tmp_path / where, packings.fp8_blocks(48, 40), None)
        settings = {**FP8, "weight_block_size": [48, 40]}
        if where == "text":
            config = json.loads((tmp_path / where / "config.json").read_text())
            (tmp_path / where / "config.json").write_text(
                json.dumps({**config, "text_config": {"quantization_config": settings}})
            )
        else:
            (tmp_path / where / "hf_quant_config.json").write_text(json.dumps(settings))
        checkpoint = open_huggingface(tmp_path / where)
        for name, weight in meant.items():
            np.testing.assert_array_equal(np.array(checkpoint.tensors[name].read()), weight.numpy())
        assert "quantization_config" not in checkpoint.config.get("text_config", {})


def changed(last: str, change: Callable[[torch.Tensor], torch.Tensor | None], packing: Packing) -> Packing:
    """`packing` with one part changed, or left out."""

    def with_change(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        parts, meant = packing(weight)
        value = change(parts.pop(last))
        return parts if value is None else {**parts, last: value}, meant

    return with_change


INT4, BLOCKS = packings.integers(4, 32), packings.fp8_blocks(32, 32)
BROKEN: dict[str, tuple[Packing, Settings, str]] = {
    "scales of another shape": (changed("weight_scale_inv", lambda s: s[:, :1].repeat(1, 7), BLOCKS), FP8, "does not scale"),
    "scales of integers": (changed("weight_scale_inv", lambda s: s.to(torch.int32), BLOCKS), FP8, "does not scale"),
    "no scale at all": (changed("weight_scale_inv", lambda s: None, BLOCKS), FP8, "have no scale"),
    "no shape": (changed("weight_shape", lambda s: None, INT4), groups("pack-quantized", num_bits=4), "lack a weight_shape"),
    "another shape": (changed("weight_shape", lambda s: s * 2, INT4), groups("pack-quantized"), "weight_shape"),
    "an absurd shape": (
        changed("weight_shape", lambda s: torch.tensor([s[0], 1 << 40]), INT4), groups("pack-quantized"), "weight_shape",
    ),
    "no scale": (changed("weight_scale", lambda s: None, INT4), groups("pack-quantized", num_bits=4), "lack a weight_scale"),
    "too few words": (changed("weight_packed", lambda s: s[:, :-1], INT4), groups("pack-quantized", num_bits=4), "words for"),
    "too few groups": (changed("weight_scale", lambda s: s[:-1], INT4), groups("pack-quantized"), "scales"),
    "order out of range": (
        changed("weight_g_idx", lambda s: s + 9, packings.integers(4, 16, order=ACT_ORDER)),
        groups("pack-quantized"), "outside",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_tensors_that_do_not_fit_together_are_refused(fault: str, plain: Path, tmp_path: Path) -> None:
    packing, settings, message = BROKEN[fault]
    pack(plain, tmp_path / "source", packing, settings, r"layers\.0\.self_attn\.q_proj\.weight$")
    with pytest.raises(FormatError, match=message) as caught:
        open_huggingface(tmp_path / "source")
    assert "q_proj" in str(caught.value)


@pytest.mark.parametrize("layout", ["blocks with an edge", "blocks of powers in E8M0", "NVFP4", "MXFP4"])
def test_values_that_are_not_finite_are_refused_when_they_are_read(
    layout: str, plain: Path, tmp_path: Path
) -> None:
    packing, settings, _ = LAYOUTS[layout]

    def spoilt(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        parts, meant = packing(weight)
        for last in ("weight", "weight_scale"):
            if last in parts and parts[last].dtype in (torch.float8_e4m3fn, torch.uint8):
                parts[last].view(torch.uint8)[0, 0] = 0x7F if parts[last].dtype != torch.uint8 else 0xFF
        return parts, meant

    meant = pack(plain, tmp_path / "source", spoilt, settings)
    checkpoint = open_huggingface(tmp_path / "source")
    path = next(iter(meant)).removesuffix(".weight")
    with pytest.raises(FormatError, match="not finite"):
        for last in ("weight", "scales"):
            if f"{path}.{last}" in checkpoint.tensors:
                mx.eval(checkpoint.tensors[f"{path}.{last}"].read())


REFUSED: dict[str, tuple[Settings, str]] = {
    "marlin": ({**groups("marlin-24"), "num_bits": 4}, "marlin-24"),
    "sparse": ({**groups("dense"), "sparsity_config": {"format": "sparse-24-bitmask"}}, "sparse-24-bitmask"),
    "rotated": (
        {**groups("pack-quantized"), "transform_config": {"config_groups": {"R4": {"apply": [{"location": "input"}]}}}},
        "rotation of activations",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_network_of_mlx_can_be_is_refused_in_one_line(kind: str, plain: Path, tmp_path: Path) -> None:
    settings, message = REFUSED[kind]
    pack(plain, tmp_path / "source", INT4, settings)
    with pytest.raises(UnsupportedError, match=message) as caught:
        open_huggingface(tmp_path / "source")
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_rotations_that_are_in_the_weights_are_no_matter(plain: Path, tmp_path: Path) -> None:
    transform = {
        "config_groups": {"R1": {"apply": [{"location": "weight_output"}, {"location": "weight_input"}]}}
    }
    pack(plain, tmp_path / "source", INT4, {**groups("pack-quantized"), "transform_config": transform})
    assert open_huggingface(tmp_path / "source").quantization


def test_settings_that_make_no_sense_are_no_crash(plain: Path, tmp_path: Path) -> None:
    for at, settings in enumerate(
        [
            {**FP8, "weight_block_size": "x"}, {**FP8, "weight_block_size": [0, -1]}, {**FP8, "weight_block_size": [128]},
            {"quant_method": 7}, {"quant_method": ["fp8"]}, {"config_groups": [1]}, {"config_groups": {"a": None}},
            {"config_groups": {"a": {"weights": {"num_bits": True, "block_structure": {}}}}},
            {"transform_config": {"config_groups": {"a": {"apply": [3]}}}},
        ]
    ):  # fmt: skip
        meant = pack(plain, tmp_path / f"{at}", packings.fp8_blocks(32, 32), settings)
        try:
            checkpoint = open_huggingface(tmp_path / f"{at}")
        except EdgeLMError:
            continue
        name, weight = next(iter(meant.items()))
        np.testing.assert_array_equal(np.array(values_of(checkpoint)[name].read()), weight.numpy())
