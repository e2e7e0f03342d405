"""Integer packings of every tool: the weights that its library dequantizes, kept code for code where MLX has the form."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from integer_packings import (
    awq,
    awq_fast,
    awq_gemv,
    bitnet,
    gptq,
    hqq,
    llm_int8,
    quark,
    torchao_int4,
    torchao_int8,
    torchao_tiles,
)
from packed_checkpoints import Packing, fp8_rows, mxfp4
from packed_sources import present, source_of, values_of
from safetensors.torch import save_file

from edgelm.errors import FormatError
from edgelm_converters.sources.packings.packed_format import PackedFormat
from edgelm_converters.sources.packings.registry import FORMATS
from edgelm_converters.sources.packings.uniform.auto_round import AutoRound
from edgelm_converters.sources.packings.uniform.awq import AWQ
from edgelm_converters.sources.packings.uniform.bitnet import BitNet
from edgelm_converters.sources.packings.uniform.gptq import GPTQ
from edgelm_converters.sources.packings.uniform.hqq import HQQ
from edgelm_converters.sources.packings.uniform.llm_int8 import LLMInt8
from edgelm_converters.sources.packings.uniform.quark import QuarkIntegers
from edgelm_converters.sources.packings.uniform.torchao import TorchAO

HALF, BRAIN, FULL = torch.float16, torch.bfloat16, torch.float32
ROUNDING = {HALF: 2.0**-11, BRAIN: 2.0**-8, FULL: 2.0**-22}
"""One rounding of the largest weight in a dtype."""
ROWS, COLUMNS = 64, 256
MIXED = torch.arange(COLUMNS) % 8
RUNS = torch.arange(COLUMNS) // 64 * 5 % 4
"""An order of activations whose runs lie together."""
GPTQ_SETTINGS = {"quant_method": "gptq", "bits": 4, "group_size": 32}
ROUND = {"quant_method": "auto-round", "bits": 4, "group_size": 32}


def quark_settings(kind: str, scheme: str, method: str = "reorder") -> dict[str, Any]:
    weight = {"dtype": kind, "qscheme": scheme}
    return {
        "quant_method": "quark",
        "global_quant_config": {"weight": weight},
        "export": {"pack_method": method},
    }


Kept = tuple[int, int] | None
CASES: dict[str, tuple[PackedFormat, Packing, dict[str, Any], Kept, torch.dtype]] = {
    **{
        f"gptq {bits} bits, {'sym' if sym else 'asym'}, version {version}": (
            GPTQ(), gptq(bits, 64, symmetric=sym, version=version),
            {**GPTQ_SETTINGS, "bits": bits, "checkpoint_format": "gptq" if version == 1 else "gptq_v2"}, (bits, 64), HALF,
        )
        for bits in (2, 3, 4, 8) for sym in (True, False) for version in (1, 2)
    },
    "gptq without g_idx": (GPTQ(), gptq(4, 128, with_order=False), {**GPTQ_SETTINGS, "group_size": 128}, (4, 128), HALF),
    "gptq by channel": (GPTQ(), gptq(4, -1), {**GPTQ_SETTINGS, "group_size": -1}, (4, 128), HALF),
    "gptq in groups of 16": (GPTQ(), gptq(4, 16), {**GPTQ_SETTINGS, "group_size": 16}, None, HALF),
    "gptq with act-order": (GPTQ(), gptq(4, order=MIXED), {**GPTQ_SETTINGS, "desc_act": True}, None, HALF),
    "gptq with act-order by runs": (GPTQ(), gptq(4, order=RUNS), {**GPTQ_SETTINGS, "desc_act": True}, (4, 64), HALF),
    "gptq of other bits than the settings say": (GPTQ(), gptq(8, 32), GPTQ_SETTINGS, (8, 32), HALF),
    "gptq in bfloat16": (GPTQ(), gptq(4, 32, dtype=BRAIN, symmetric=False), GPTQ_SETTINGS, (4, 32), BRAIN),
    "gptq of 8 bits in bfloat16": (GPTQ(), gptq(8, 32, dtype=BRAIN), {**GPTQ_SETTINGS, "bits": 8}, (8, 32), BRAIN),
    "gptq of 8 bits in bfloat16, asym": (
        GPTQ(), gptq(8, 32, dtype=BRAIN, symmetric=False), {**GPTQ_SETTINGS, "bits": 8}, None, BRAIN,
    ),
    "awq": (AWQ(), awq(4, 64), {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm"}, (4, 64), HALF),
    "awq by w_bit": (AWQ(), awq(4, 128), {"quant_method": "awq", "w_bit": 4, "q_group_size": 128}, (4, 128), HALF),
    **{
        f"awq {version} in groups of {group}": (
            AWQ(), packing(group), {"quant_method": "awq", "bits": 4, "group_size": group, "version": version},
            (4, group), HALF,
        )
        for version, packing in (("gemv", awq_gemv), ("gemv_fast", awq_fast)) for group in (32, 64, 128)
    },
    **{
        f"auto-round as {name}, {bits} bits": (
            AutoRound(), packing, {**ROUND, "packing_format": name, "extra_config": {"m": {"bits": bits}}},
            (8 if bits == 7 else bits, 32), HALF,
        )
        for bits in (2, 3, 4, 5, 6, 7, 8)
        for name, packing in (
            ("auto_round:auto_gptq", gptq(bits, with_order=False)),
            ("auto_round:gptqmodel", gptq(bits, version=2, symmetric=False)),
            ("auto_round", gptq(bits, version=2, symmetric=False, with_order=False)),
            ("auto_round:auto_awq", awq(bits)),
        )
    },
    "auto-round before 0.5": (
        AutoRound(), gptq(with_order=False),
        {"quant_method": "intel/auto-round", "backend": "auto_round:gptq:exllamav2", "bits": 4, "group_size": 32},
        (4, 32), HALF,
    ),
    **{
        f"hqq {bits} bits in {str(dtype)[6:]}": (
            HQQ(), hqq(bits, 64, dtype=dtype), {"quant_method": "hqq"},
            None if (bits, dtype) == (8, BRAIN) else (max(bits, 2), 64), dtype,
        )
        for bits in (1, 2, 3, 4, 8) for dtype in (HALF, BRAIN, FULL)
    },
    **{
        f"hqq {bits} bits along the outputs": (HQQ(), hqq(bits, 64, axis=0), {"quant_method": "hqq"}, None, HALF)
        for bits in (3, 4)
    },
    "hqq with groups that rows do not hold": (HQQ(), hqq(4, 64), {"quant_method": "hqq"}, None, HALF),
    "hqq viewed as floats": (HQQ(), hqq(4, 64, as_floats=True), {"quant_method": "hqq"}, (4, 64), HALF),
    "hqq of 3 bits viewed as floats": (HQQ(), hqq(3, 64, as_floats=True, dtype=BRAIN), {"quant_method": "hqq"}, (3, 64), BRAIN),
    "torchao int8": (TorchAO(), torchao_int8(), {"quant_method": "torchao"}, (8, 128), FULL),
    "torchao int8 in groups": (TorchAO(), torchao_int8(64, dtype=BRAIN), {"quant_method": "torchao"}, (8, 64), BRAIN),
    "torchao int8, asym": (TorchAO(), torchao_int8(32, symmetric=False), {"quant_method": "torchao"}, (8, 32), FULL),
    "torchao int4": (TorchAO(), torchao_int4(128), {"quant_method": "torchao"}, (4, 128), BRAIN),
    "llm.int8": (LLMInt8(), llm_int8(), {"quant_method": "bitsandbytes", "load_in_8bit": True}, (8, 128), HALF),
    "bitnet": (BitNet(), bitnet(dtype=BRAIN), {"quant_method": "bitnet"}, (2, 128), BRAIN),
    "bitnet autobitlinear": (
        BitNet(), bitnet(multiplied=True, dtype=BRAIN),
        {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}, (2, 128), BRAIN,
    ),
    **{f"quark {kind}": (QuarkIntegers(), quark(kind), quark_settings(kind, "per_group"), (int(kind[-1]), 32), HALF)
       for kind in ("int4", "uint4", "int8", "uint8")},
    **{f"quark {kind} by channel": (
        QuarkIntegers(), quark(kind, None), quark_settings(kind, "per_channel"), (int(kind[-1]), 128), HALF)
       for kind in ("int4", "uint4", "int8", "uint8")},
    "quark in order": (QuarkIntegers(), quark(reordered=False), quark_settings("int4", "per_group", "order"), (4, 32), HALF),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_of_the_library(case: str) -> None:
    packing, pack, settings, kept, dtype = CASES[case]
    torch.manual_seed(3)
    weight = torch.randn(ROWS, 160 if "rows do not hold" in case else COLUMNS) * 0.05
    parts, meant = pack(weight)
    result = present(packing, source_of(parts, settings, dtype=str(dtype)[6:]))

    if kept is None:
        assert not result.quantization
        assert result.requantized["m"]["bits"] > 4
    else:
        assert result.quantization["m"] == {"bits": kept[0], "group_size": kept[1], "mode": "affine"}
    expected = meant.numpy()
    # hqq rounds code - zero, then the product; the rest round once.
    roundings = 2.5 if case.startswith("hqq") else 1.5
    assert np.abs(values_of(result) - expected).max() <= ROUNDING[dtype] * np.abs(expected).max() * roundings
    assert np.abs(expected - weight.numpy()).max() < 0.3


@pytest.mark.parametrize(
    "case", [name for name, case in CASES.items() if case[3] is None and case[4] == HALF]
)
def test_what_is_unpacked_is_bit_for_bit_what_the_library_computes_with(case: str) -> None:
    packing, pack, settings, _, dtype = CASES[case]
    parts, meant = pack(torch.randn(ROWS, 160 if "rows do not hold" in case else COLUMNS) * 0.05)
    result = present(packing, source_of(parts, settings))
    assert np.array_equal(values_of(result), meant.to(dtype).float().numpy())


def test_zero_points_of_version_1_wrap_as_auto_gptqs_do() -> None:
    """AutoGPTQ stores zero - 1 in the bits it has, and adds one and masks when it reads."""
    parts, _ = gptq(4, 64)(torch.randn(ROWS, COLUMNS))
    parts["qzeros"] = torch.full_like(parts["qzeros"], -1)
    result = present(GPTQ(), source_of(parts, GPTQ_SETTINGS))
    assert not result.tensors["m.biases"].read().any().item()


def test_a_layer_that_gpt2_stores_transposed_is_given_so() -> None:
    parts, meant = gptq(4, 64)(torch.randn(ROWS, COLUMNS))
    source = source_of(parts, GPTQ_SETTINGS, path="h.0.attn.c_attn", model_type="gpt2")
    result = present(GPTQ(), source)
    assert not result.quantization
    weight = result.tensors["h.0.attn.c_attn.weight"]
    assert weight.shape == (COLUMNS, ROWS)
    assert np.array_equal(np.array(weight.read()), meant.half().float().numpy().T)


def test_a_large_matrix_is_taken_apart_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgelm_converters.sources.packings.uniform import streams

    monkeypatch.setattr(streams, "SLICE_VALUES", 3 * COLUMNS)
    for case in (
        "awq",
        "awq gemv_fast in groups of 64",
        "gptq with act-order",
        "hqq 3 bits along the outputs",
        "quark int4",
    ):
        packing, pack, settings, _, _ = CASES[case]
        parts, meant = pack(torch.randn(ROWS, COLUMNS) * 0.05)
        values = values_of(present(packing, source_of(parts, settings)))
        assert np.abs(values - meant.numpy()).max() <= 2.0**-11 * np.abs(meant.numpy()).max() * 1.5


def test_scales_below_the_normal_range_of_half_precision_are_not_kept() -> None:
    """Row maxima of 0.001 need scales of 8e-6, where float16 has four digits of a bit left."""
    parts, meant = llm_int8()(torch.randn(ROWS, COLUMNS) * 3e-4)
    source = source_of(
        {**parts, "e.bias": torch.zeros(ROWS * COLUMNS, dtype=HALF)}, {"quant_method": "bitsandbytes"}
    )
    result = present(LLMInt8(), source)
    assert not result.quantization
    assert np.abs(values_of(result) - meant.numpy()).max() < 1e-9


@pytest.mark.parametrize("bits", [2, 3, 4, 7])
def test_torchaos_narrow_codes_are_as_wide_as_the_header_says(bits: int, tmp_path: Path) -> None:
    """torchao keeps 1 to 8 bits in bytes (`IntxUnpackedToInt8Tensor`), and the width in the file's own metadata."""
    parts, meant = torchao_int8(32, bits=bits, dtype=HALF, symmetric=False)(torch.randn(ROWS, COLUMNS))
    said = {"_type": "IntxUnpackedToInt8Tensor", "_data": {"target_dtype": {"_data": f"int{bits}"}}}
    save_file(
        {"m._weight_qdata": parts["_weight_qdata"]},
        tmp_path / "a.safetensors",
        {"m.weight": json.dumps(said)},
    )
    source = source_of(parts, {"quant_method": "torchao"})
    result = present(TorchAO(), dataclasses.replace(source, files=(tmp_path / "a.safetensors",)))
    assert result.quantization["m"] == {"bits": 8 if bits == 7 else bits, "group_size": 32, "mode": "affine"}
    assert (
        np.abs(values_of(result) - meant.numpy()).max() <= ROUNDING[HALF] * np.abs(meant.numpy()).max() * 1.5
    )

    parts["_weight_qdata"][3, 5] = 1 << (bits - 1)
    result = present(
        TorchAO(), dataclasses.replace(source_of(parts, {}), files=(tmp_path / "a.safetensors",))
    )
    with pytest.raises(FormatError, match=f"do not fit the {bits} bits"):
        values_of(result)


@pytest.mark.parametrize("shape", [(64, 256), (20, 1024), (8, 1056)])
def test_torchaos_tiles_of_a_tensor_core_are_put_in_order(shape: tuple[int, int], tmp_path: Path) -> None:
    parts, meant = torchao_tiles(32)(torch.randn(shape))
    said = {"_type": "Int4TilePackedTo4dTensor", "_data": {"block_size": [1, 32], "shape": list(shape)}}
    save_file(
        {"m._weight_qdata": parts["_weight_qdata"]},
        tmp_path / "a.safetensors",
        {"m.weight": json.dumps(said)},
    )
    source = dataclasses.replace(
        source_of(parts, {"quant_method": "torchao"}), files=(tmp_path / "a.safetensors",)
    )
    result = present(TorchAO(), source)
    assert result.quantization["m"] == {"bits": 4, "group_size": 32, "mode": "affine"}
    assert (
        np.abs(values_of(result) - meant.numpy()).max() <= ROUNDING[BRAIN] * np.abs(meant.numpy()).max() * 1.5
    )
    with pytest.raises(FormatError, match="the shape None in the file's header"):
        present(TorchAO(), source_of(parts, {"quant_method": "torchao"}))


@pytest.mark.parametrize("dtype", [FULL, BRAIN])
def test_weights_that_bitnets_layers_round_themselves_are_rounded(dtype: torch.dtype) -> None:
    weight = (torch.randn(ROWS, COLUMNS) * 0.05).to(dtype)
    said = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}
    result = present(BitNet(), source_of({"weight": weight}, said))
    assert result.quantization["m"] == {"bits": 2, "group_size": 128, "mode": "affine"}
    # `WeightQuant.forward` of transformers, which compiles itself.
    scale = 1 / weight.float().abs().mean().clamp(min=1e-5)
    expected = ((weight.float() * scale).round().clamp(-1, 1) / scale).to(dtype).float().numpy()
    assert (
        np.abs(values_of(result) - expected).max() <= (1e-6 if dtype == FULL else 0) * np.abs(expected).max()
    )
    for path in ("model.embed_tokens", "lm_head"):
        assert not present(BitNet(), source_of({"weight": weight}, said, path=path)).quantization
    kept = {**said, "modules_to_not_convert": ["layers.1.mlp.up_proj"]}
    assert not present(
        BitNet(), source_of({"weight": weight}, kept, path="model.layers.1.mlp.up_proj")
    ).quantization


def test_ternary_weights_that_lie_there_as_floats_are_multiplied() -> None:
    ternary, scale = torch.randint(-1, 2, (ROWS, COLUMNS)).to(BRAIN), torch.tensor([0.25], dtype=BRAIN)
    said = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}
    result = present(BitNet(), source_of({"weight": ternary, "weight_scale": scale}, said))
    assert np.array_equal(values_of(result), ternary.float().numpy() * 0.25)


def test_quarks_small_floats_are_read_as_such() -> None:
    """AMD's releases are FP8 by tensor or channel and MXFP4, under the same three names as its integers."""
    weight = torch.randn(ROWS, COLUMNS) * 0.05
    for kind, scheme, packing, kept in (
        ("fp8_e4m3", "per_tensor", fp8_rows(per_tensor=True), None),
        ("fp8_e4m3", "per_channel", fp8_rows(), None),
        ("fp4", "per_group", mxfp4(("weight", "weight_scale")), "mxfp4"),
    ):
        parts, meant = packing(weight)
        source = source_of({**parts, "input_scale": torch.tensor(1.0)}, quark_settings(kind, scheme))
        found = next(each for each in FORMATS if each.recognise(source))
        result = present(found, source)
        assert "m.input_scale" in result.used
        if kept is None:
            assert np.array_equal(np.array(result.tensors["m.weight"].read()), meant.numpy())
        else:
            assert result.quantization["m"]["mode"] == kept
            words, scales = (result.tensors[f"m.{part}"].read() for part in ("weight", "scales"))
            values = mx.dequantize(words, scales, None, 32, 4, kept, dtype=mx.float32)
            assert np.array_equal(np.array(values), meant.numpy())


@pytest.mark.parametrize("case", ["gptq by channel", "gptq with act-order", "hqq 4 bits in float16"])
def test_scales_that_are_no_numbers_are_refused(case: str) -> None:
    packing, pack, settings, _, _ = CASES[case]
    parts, _ = pack(torch.randn(ROWS, COLUMNS))
    scales = parts["scale" if "scale" in parts else "scales"]
    scales[0, 0] = torch.nan
    with pytest.raises(FormatError, match=r"m is packed .* that are not finite"):
        values_of(present(packing, source_of(parts, settings)))
