"""Quantized files of families: experts stay as they lie, code for code; what rules compute is dequantized."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Kind
from gguf_cases import CASES
from gguf_families import converted_logits, difference, logits_of, values_of
from llama_cpp_converter import LlamaCppConverter

from edgelm_converters.convert import convert
from edgelm_converters.sources.gguf.families.experts.deepseek import LatentInTwo
from edgelm_converters.sources.gguf.parts import read_parts

pytestmark = [pytest.mark.peer, pytest.mark.slow]

Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


@pytest.fixture
def make(llama_cpp: LlamaCppConverter, tmp_path: Path, write_gguf: Callable[..., Path]) -> Callable[..., Any]:
    """A family's file with its matrices stored as `kind`, changed as `change` says; with the transformers network."""

    def run(
        name: str, kind: Kind | None, change: Change = lambda metadata, tensors: None
    ) -> tuple[Path, Any]:
        network = CASES[name].publish(tmp_path / "source")
        plain = llama_cpp.convert(tmp_path / "source", out=tmp_path / "plain.gguf", pre=CASES[name].pre)
        model = read_parts(plain)
        architecture = model.metadata["general.architecture"]
        metadata = {
            key.removeprefix(f"{architecture}."): value
            for key, value in model.metadata.items()
            if key != "general.architecture" and value != []
        }
        tensors = {key: values_of(tensor) for key, tensor in model.tensors.items()}
        change(metadata, tensors)
        stored = {key: stored_as(kind, key, values) for key, values in tensors.items()}
        return write_gguf(tmp_path / "model.gguf", architecture, metadata, stored), network

    return run


def stored_as(kind: Kind | None, name: str, values: np.ndarray) -> Any:
    is_matrix = values.ndim > 1 and name.endswith(".weight") and "norm" not in name and "_inp" not in name
    if kind is None or not is_matrix or values.shape[-1] % 32:
        return values
    return gguf.quants.quantize(values, kind), kind


def values_in(directory: Path, module: str, bits: int, mode: str = "affine") -> np.ndarray:
    tensors: dict[str, mx.array] = {}
    for file in directory.glob("[!.]*.safetensors"):
        tensors |= mx.load(str(file))
    parts = [tensors.get(f"{module}.{part}") for part in ("weight", "scales", "biases")]
    if mode == "affine":
        parts[1:] = [part.astype(mx.float32) for part in parts[1:]]
    return np.array(mx.dequantize(*parts, group_size=32, bits=bits, mode=mode, dtype=mx.float32))


@pytest.mark.parametrize(
    ("name", "kind", "bits", "mode", "experts"),
    [
        ("qwen3moe", Kind.Q4_0, 4, "affine", "mlp.switch_mlp"),
        ("qwen3moe", Kind.Q8_0, 8, "affine", "mlp.switch_mlp"),
        ("gemma4-moe", Kind.Q5_1, 5, "affine", "experts.switch_glu"),
        ("gpt-oss", Kind.MXFP4, 4, "mxfp4", "mlp.experts"),
    ],
)  # fmt: skip
def test_experts_are_kept_code_for_code(name, kind, bits, mode, experts, make, tmp_path: Path) -> None:
    path, _ = make(name, kind)
    made = convert(path, tmp_path / "out", dtype="float32", verify=False)
    kept = [row for row in made.manifest.receipt["tensors"] if row.startswith(kind.name)]
    assert kept
    assert all("(kept)" in row for row in kept)
    stored = read_parts(path).tensors
    fused = stored.get("blk.1.ffn_gate_up_exps.weight")
    gate = fused or stored["blk.1.ffn_gate_exps.weight"]
    raw = np.fromfile(path, np.uint8, gate.size_bytes, offset=gate.begin).reshape(gate.rows, -1)
    expected = gguf.quants.dequantize(raw, kind).reshape(gate.shape)
    expected = expected[:, : gate.shape[1] // 2] if fused else expected
    found = values_in(made.directory, f"model.layers.1.{experts}.gate_proj", bits, mode)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    plain = convert(path, tmp_path / "plain", mode="none", dtype="float32", verify=False)
    assert difference(converted_logits(made.directory), converted_logits(plain.directory)) < 1e-3


def test_deepseek_files_with_the_latent_matrix_whole(make, tmp_path: Path) -> None:
    """As llama.cpp wrote them until 2025: one matrix, heads said as heads of full attention."""
    settings = CASES["deepseek2-v3"].settings
    heads, nope = 4, settings["qk_nope_head_dim"]
    value, rope = settings["v_head_dim"], settings["qk_rope_head_dim"]

    def join(metadata: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        sizes = {"heads": heads, "nope": nope, "value": value}
        for layer in range(3):
            parts = [tensors.pop(f"blk.{layer}.attn_{part}_b.weight") for part in "kv"]
            (tensors[f"blk.{layer}.attn_kv_b.weight"],) = LatentInTwo(is_stored_whole=False).from_gguf(
                parts, sizes
            )
        for key in ("attention.key_length_mla", "attention.value_length_mla"):
            del metadata[key]
        metadata |= {
            "attention.key_length": nope + rope, "attention.value_length": value, "attention.head_count_kv": heads,
        }  # fmt: skip

    path, network = make("deepseek2-v3", None, join)
    made = convert(path, tmp_path / "out", mode="none", dtype="float32", verify=False)
    assert difference(converted_logits(made.directory), logits_of(network)) < 1e-4


def test_what_a_rule_computes_of_codes_is_quantized_again(make, tmp_path: Path) -> None:
    """DeepSeek 2's two matrices become one: dequantized, joined, and quantized at the width that they had."""
    path, _ = make("deepseek2", Kind.Q8_0)
    made = convert(path, tmp_path / "out", dtype="float32", verify=False)
    plain = convert(path, tmp_path / "plain", mode="none", dtype="float32", verify=False)
    name = "model.layers.1.self_attn.kv_b_proj"
    expected = np.array(mx.load(str(plain.directory / "model.safetensors"))[f"{name}.weight"])
    found = values_in(made.directory, name, bits=8)
    assert np.abs(found - expected).max() < np.abs(expected).max() / 127
