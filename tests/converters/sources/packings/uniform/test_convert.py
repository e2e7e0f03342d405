"""Whole checkpoints of integer weights, converted: logits of torch's network with the weights that the tool dequantizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
import transformers
from checkpoints import VOCAB, write_checkpoint
from integer_packings import (
    awq,
    bitnet,
    bitsandbytes_4bit,
    gptq,
    hqq,
    llm_int8,
    quark,
    torchao_int4,
    torchao_int8,
)
from packed_checkpoints import Packing, pack

from edgelm.json_files import read_json
from edgelm.model.load import load
from edgelm.zoo.weights.safetensors_header import read_header
from edgelm_converters.convert import convert

PROMPT = np.random.default_rng(1).integers(4, VOCAB, 60).tolist()
F32 = torch.float32
MIXED = torch.arange(64) % 2
QUARK = {
    "quant_method": "quark", "global_quant_config": {"weight": {"dtype": "uint4", "qscheme": "per_group"}},
    "export": {"pack_method": "reorder"},
}  # fmt: skip
SOURCES: dict[str, tuple[Packing, dict[str, Any], tuple[int, int] | None]] = {
    "gptq": (gptq(4, 32, symmetric=False, dtype=F32), {"quant_method": "gptq", "bits": 4, "group_size": 32}, (4, 32)),
    "gptq of 3 bits, version 2": (
        gptq(3, 64, symmetric=False, version=2, dtype=F32),
        {"quant_method": "gptq", "bits": 3, "group_size": 64, "checkpoint_format": "gptq_v2"}, (3, 64),
    ),
    "awq": (awq(4, 64, dtype=F32), {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm"}, (4, 64)),
    "auto-round": (
        gptq(2, 32, with_order=False, dtype=F32),
        {"quant_method": "auto-round", "bits": 2, "group_size": 32, "packing_format": "auto_round:auto_gptq"}, (2, 32),
    ),
    "hqq": (hqq(4, 64, dtype=F32), {"quant_method": "hqq"}, (4, 64)),
    "hqq along the outputs": (hqq(4, 64, axis=0, dtype=F32), {"quant_method": "hqq"}, None),
    "torchao int8": (torchao_int8(), {"quant_method": "torchao"}, (8, 64)),
    "torchao int4": (torchao_int4(32, dtype=F32), {"quant_method": "torchao"}, (4, 32)),
    "nf4": (bitsandbytes_4bit("nf4", nested=True), {"quant_method": "bitsandbytes", "load_in_4bit": True}, None),
    "fp4": (bitsandbytes_4bit("fp4"), {"quant_method": "bitsandbytes", "load_in_4bit": True}, None),
    "llm.int8": (llm_int8(), {"quant_method": "bitsandbytes", "load_in_8bit": True}, (8, 64)),
    "quark": (quark("uint4", 32, dtype=F32), QUARK, (4, 32)),
    "bitnet": (bitnet(), {"quant_method": "bitnet"}, (2, 64)),
}  # fmt: skip


def logits_of_twin(directory: Path) -> np.ndarray:
    """Torch's logits with the weights that lie there by value."""
    network = transformers.AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager")
    with torch.no_grad():
        return network.float().eval()(torch.tensor([PROMPT])).logits[0].numpy()


def logits_of(directory: Path) -> np.ndarray:
    return np.array(load(directory, check_fit=False).network(mx.array([PROMPT]))[0].astype(mx.float32))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("llama") / "plain"
    write_checkpoint(directory, "llama")
    return directory


@pytest.mark.parity
@pytest.mark.parametrize("case", SOURCES)
def test_logits_are_those_of_the_dequantized_weights(case: str, llama: Path, tmp_path: Path) -> None:
    packing, settings, kept = SOURCES[case]
    pack(llama, tmp_path / "packed", packing, settings)
    expected = logits_of_twin(tmp_path / "packed-twin")
    scale = max(1.0, np.abs(expected).max())

    plain = convert(tmp_path / "packed", tmp_path / "plain", mode="none", dtype="float32", verify=False)
    assert np.abs(logits_of(plain.directory) - expected).max() < 1e-3 * scale
    made = convert(tmp_path / "packed", tmp_path / "made", verify=False)
    settings_of = read_json(made.directory / "config.json")["quantization"]
    layer = {"mode": "affine", **settings_of, **settings_of.get("model.layers.0.mlp.up_proj", {})}
    if kept:
        assert (layer["bits"], layer["group_size"], layer["mode"]) == (*kept, "affine")
        assert np.abs(logits_of(made.directory) - expected).max() < 1e-3 * scale
    else:
        assert layer["bits"] == 6
        lost = np.square(logits_of(made.directory) - expected).mean()
        assert lost < 0.15 * np.square(logits_of_twin(llama) - expected).mean(), (
            "beside what the packing itself lost"
        )


@pytest.mark.parity
@pytest.mark.parametrize("case", ["gptq", "gptq with act-order", "awq", "nf4"])
def test_experts_are_kept_code_for_code(case: str, tmp_path: Path) -> None:
    """Saved one by one, stacked by `sanitize`, which knows nothing of packings."""
    write_checkpoint(tmp_path / "plain", "qwen3_moe", moe_intermediate_size=64)
    packing, settings, kept = SOURCES.get(case) or (
        gptq(4, 32, order=MIXED, dtype=F32), {**SOURCES["gptq"][1], "desc_act": True}, None,
    )  # fmt: skip
    matching = r"experts\.\d+\.(gate|up|down)_proj\.weight$|\.(q|k|v)_proj\.weight$"
    pack(tmp_path / "plain", tmp_path / "packed", packing, settings, matching)
    expected = logits_of_twin(tmp_path / "packed-twin")

    how = {} if kept else {"mode": "none", "dtype": "float32"}
    made = convert(tmp_path / "packed", tmp_path / "made", verify=False, **how)
    assert np.abs(logits_of(made.directory) - expected).max() < 1e-3 * max(1.0, np.abs(expected).max())
    if kept:
        config = json.loads((made.directory / "config.json").read_text())
        layers = {
            **config["quantization"],
            **config["quantization"].get("model.layers.0.mlp.switch_mlp.up_proj", {}),
        }
        assert (layers["bits"], layers["group_size"]) == kept


@pytest.mark.parity
def test_one_half_precision_runs_through_the_network(tmp_path: Path) -> None:
    """AutoRound leaves bfloat16 beside its float16 scales; where both meet, MLX would compute in float32."""
    write_checkpoint(tmp_path / "plain", "llama", dtype="bfloat16")
    pack(tmp_path / "plain", tmp_path / "packed", gptq(4, 32), SOURCES["gptq"][1])
    made = convert(tmp_path / "packed", tmp_path / "made", verify=False)
    kinds = {info.dtype for info in read_header(made.directory / "model.safetensors").values()}
    assert kinds == {"U32", "F16"}
    expected = logits_of_twin(tmp_path / "packed-twin")
    assert np.abs(logits_of(made.directory) - expected).max() < 0.05
