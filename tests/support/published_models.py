"""Published models, as small as they can be and still be models."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-5,
    "vocab_size": 8,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    "eos_token_id": 1,
}
WORDS = {"<unk>": 0, "<eos>": 1, "the": 2, "cat": 3, "sat": 4, "on": 5, "a": 6, "mat": 7}
NOT_NEEDED = {
    "README.md": b"# model",
    "cat.png": b"\x89PNG",
    "pytorch_model.bin": b"pickle",
    "model.onnx": b"onnx",
    "tf_model.h5": b"h5",
    "flax_model.msgpack": b"msgpack",
    "modeling_llama.py": b"raise SystemExit",
    "original/consolidated.00.pth": b"pickle",
    "onnx/model.onnx": b"onnx",
    "optimizer.safetensors": b"state",
}
"""What repositories also hold and no model needs."""


def safetensors(tensors: dict[str, np.ndarray[Any, Any]]) -> bytes:
    """A safetensors file of float32 tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in tensors.items():
        raw = array.astype(np.float32).tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def _tensors() -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    width, inner, layer = CONFIG["hidden_size"], CONFIG["intermediate_size"], "model.layers.0."
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (CONFIG["vocab_size"], width),
        "model.norm.weight": (width,),
        layer + "input_layernorm.weight": (width,),
        layer + "post_attention_layernorm.weight": (width,),
        layer + "mlp.gate_proj.weight": (inner, width),
        layer + "mlp.up_proj.weight": (inner, width),
        layer + "mlp.down_proj.weight": (width, inner),
    } | {layer + f"self_attn.{part}_proj.weight": (width, width) for part in "qkvo"}
    return {name: random.standard_normal(shape) * 0.1 for name, shape in shapes.items()}


def _tokenizer() -> dict[str, bytes]:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>", "unk_token": "<unk>"}
    return {
        "tokenizer.json": tokenizer.to_str().encode(),
        "tokenizer_config.json": json.dumps(settings).encode(),
    }


@pytest.fixture
def published() -> dict[str, bytes]:
    """A llama of one file of safetensors, with much that no model needs."""
    return {
        "config.json": json.dumps(CONFIG).encode(),
        "generation_config.json": b'{"eos_token_id": 1}',
        "model.safetensors": safetensors(_tensors()),
        **_tokenizer(),
        **NOT_NEEDED,
    }


@pytest.fixture
def published_shards(published: dict[str, bytes]) -> dict[str, bytes]:
    """The same model in two shards and an index."""
    tensors = _tensors()
    names = list(tensors)
    halves = {
        "model-00001-of-00002.safetensors": names[:5],
        "model-00002-of-00002.safetensors": names[5:],
    }
    index = {"metadata": {}, "weight_map": {name: file for file, part in halves.items() for name in part}}
    del published["model.safetensors"]
    shards = {file: safetensors({name: tensors[name] for name in part}) for file, part in halves.items()}
    return {**published, **shards, "model.safetensors.index.json": json.dumps(index).encode()}
