"""Files as Ollama's converter writes them: a text model with its towers, and keys that its engine has in its code."""

from __future__ import annotations

import numpy as np
import pytest

from edgelm_converters.convert import convert
from edgelm_converters.sources.gguf.checkpoint import open_gguf

TOWERS = {
    "v.blk.0.attn_q.weight": np.zeros((8, 8), np.float32),
    "v.patch_embedding.weight": np.zeros((8, 3, 2, 2), np.float32),
    "mm.input_projection.weight": np.zeros((8, 64), np.float32),
}
VISION = {"vision.block_count": 1, "vision.embedding_length": 8, "mm.tokens_per_image": 256}


def gemma3(tensors, layers):
    """The tensors of a Gemma 3 made of a tiny llama's."""
    one = {
        name.removeprefix("blk.0."): tensor for name, tensor in tensors.items() if name.startswith("blk.0.")
    }
    one |= {f"{name}.weight": np.ones(64, np.float32) for name in ("post_attention_norm", "post_ffw_norm")}
    one |= {f"{name}.weight": np.ones(16, np.float32) for name in ("attn_q_norm", "attn_k_norm")}
    outer = {name: tensor for name, tensor in tensors.items() if not name.startswith("blk.")}
    return outer | {f"blk.{layer}.{name}": tensor for layer in range(layers) for name, tensor in one.items()}


def without(metadata, *keys):
    return {key: value for key, value in metadata.items() if key not in keys}


def test_towers_are_left_out_and_told(tmp_path, write_gguf, tiny_metadata, tiny_tensors):
    tokens = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.merges": ["t 0"]}
    tokens["tokenizer.ggml.tokens"] = ["t", "0", *(f"t{index}" for index in range(48))]
    plain = write_gguf(tmp_path / "plain.gguf", "llama", {**tiny_metadata, **tokens}, tiny_tensors())
    seeing = write_gguf(
        tmp_path / "seeing.gguf", "llama", {**tiny_metadata, **VISION, **tokens}, {**tiny_tensors(), **TOWERS}
    )
    found, expected = open_gguf(seeing), open_gguf(plain)
    assert found.config == expected.config
    assert found.tensors.keys() == expected.tensors.keys()
    told = "left out 3 tensors for images and what joins both: only the text model is converted"
    assert found.notes == (told,)

    made = convert(seeing, tmp_path / "out", mode="none", verify=False)
    assert told in made.manifest.receipt["notes"]


@pytest.mark.parametrize("layers", [6, 34])
def test_a_seeing_gemma3_gets_what_its_engine_has_in_its_code(
    layers, tmp_path, write_gguf, tiny_metadata, tiny_tensors
):
    metadata = without(tiny_metadata, "rope.freq_base", "attention.layer_norm_rms_epsilon")
    metadata |= {"block_count": layers, "attention.sliding_window": 32, **VISION}
    path = write_gguf(tmp_path / "m.gguf", "gemma3", metadata, {**gemma3(tiny_tensors(), layers), **TOWERS})
    checkpoint = open_gguf(path)
    assert checkpoint.config["rope_theta"] == 1e6
    assert checkpoint.config["rms_norm_eps"] == 1e-6
    scaling = checkpoint.config.get("rope_scaling")
    assert (scaling and (scaling["rope_type"], scaling["factor"])) == (
        ("linear", 8.0) if layers == 34 else None
    )
    said = " ".join(checkpoint.notes)
    assert "attention.layer_norm_rms_epsilon 1e-06" in said
    assert "no rope.freq_base; 1e+06 is taken" in said


def test_the_first_gemma3_1b_has_no_soft_cap(tmp_path, write_gguf, tiny_metadata, tiny_tensors):
    metadata = {
        **tiny_metadata,
        "block_count": 26,
        "final_logit_softcapping": 30.0,
        "rope.local.freq_base": 20_000.0,
    }
    path = write_gguf(tmp_path / "m.gguf", "gemma3", metadata, gemma3(tiny_tensors(), 26))
    checkpoint = open_gguf(path)
    assert "final_logit_softcapping" not in checkpoint.config
    assert checkpoint.config["rope_local_base_freq"] == 20_000.0
    assert "final_logit_softcapping is passed over" in checkpoint.notes[0]


def test_qwen25vl_is_llama_cpps_qwen2vl(tmp_path, write_gguf, tiny_metadata, tiny_tensors):
    biases = {
        f"blk.{layer}.attn_{part}.bias": np.zeros(64 if part == "q" else 32, np.float32)
        for layer in range(2)
        for part in "qkv"
    }
    path = write_gguf(
        tmp_path / "m.gguf", "qwen25vl", {**tiny_metadata, **VISION}, {**tiny_tensors(), **biases, **TOWERS}
    )
    checkpoint = open_gguf(path)
    assert checkpoint.config["model_type"] == "qwen2_vl"
    assert checkpoint.config["text_config"]["rope_parameters"]["mrope_section"] == [2, 3, 3]


@pytest.mark.parametrize(("architecture", "base"), [("llama", 10_000.0), ("smollm3", 2_000_000.0)])
def test_a_base_that_the_file_does_not_say_is_told(
    architecture, base, tmp_path, write_gguf, tiny_metadata, tiny_tensors
):
    path = write_gguf(
        tmp_path / "m.gguf", architecture, without(tiny_metadata, "rope.freq_base"), tiny_tensors()
    )
    checkpoint = open_gguf(path)
    assert checkpoint.config["rope_theta"] == base
    assert checkpoint.notes == (
        f"the file says no rope.freq_base; {base:g} is taken, the usual one of {architecture}",
    )
