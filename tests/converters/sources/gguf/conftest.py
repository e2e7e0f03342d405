"""GGUF files made here, the way llama.cpp's convert_hf_to_gguf.py makes them."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from edgelm_converters.sources.gguf.types.kinds import Kind, block_bytes, values_per_block

WriteGGUF = Callable[..., Path]


def _bytes_of(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


@dataclass
class RawGGUF:
    """A GGUF file written byte by byte, so that any field can lie."""

    version: int = 3
    magic: bytes = b"GGUF"
    keys: list[bytes] = field(default_factory=list)
    tensors: list[bytes] = field(default_factory=list)
    key_count: int | None = None
    tensor_count: int | None = None
    data: bytes = b""

    def key(self, name: str, kind: int, value: bytes) -> RawGGUF:
        self.keys.append(_bytes_of(name) + struct.pack("<I", kind) + value)
        return self

    def tensor(self, name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> RawGGUF:
        dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        self.tensors.append(_bytes_of(name) + dims + struct.pack("<IQ", kind, offset))
        return self

    def write(self, path: Path) -> Path:
        counts = [
            len(entries) if said is None else said
            for entries, said in ((self.tensors, self.tensor_count), (self.keys, self.key_count))
        ]
        head = self.magic + struct.pack("<IQQ", self.version, *counts) + b"".join(self.keys + self.tensors)
        path.write_bytes(head + b"\0" * (-len(head) % 32) + self.data)
        return path


@pytest.fixture
def raw_gguf() -> type[RawGGUF]:
    return RawGGUF


def _write_gguf(
    path: Path, architecture: str, metadata: Mapping[str, Any], tensors: Mapping[str, Any], **split: int
) -> Path:
    """`metadata` by key without the architecture; tensors as arrays, or as (bytes, type)."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {**metadata, **split}.items():
        name = key if key.startswith(("general.", "tokenizer.", "split.")) else f"{architecture}.{key}"
        _add(writer, name, value)
    for name, tensor in tensors.items():
        data, kind = tensor if isinstance(tensor, tuple) else (tensor, None)
        writer.add_tensor(name, data, raw_dtype=kind and gguf.GGMLQuantizationType(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    else:
        writer.add_array(name, value)


@pytest.fixture
def write_gguf() -> WriteGGUF:
    return _write_gguf


TINY = {
    "block_count": 2,
    "context_length": 128,
    "embedding_length": 64,
    "feed_forward_length": 96,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "rope.freq_base": 10000.0,
}


def _tiny_tensors(kind: Kind | None = None) -> dict[str, Any]:
    """A llama of two layers; its matrices stored as `kind`."""
    rng = np.random.default_rng(7)

    def matrix(rows: int, width: int) -> Any:
        values = (rng.standard_normal((rows, width)) * 0.02).astype(np.float32)
        return (
            values if kind is None else (gguf.quants.quantize(values, gguf.GGMLQuantizationType(kind)), kind)
        )

    tensors: dict[str, Any] = {
        "token_embd.weight": matrix(50, 64),
        "output_norm.weight": np.ones(64, np.float32),
    }
    for layer in range(2):
        tensors |= {
            f"blk.{layer}.attn_norm.weight": np.ones(64, np.float32),
            f"blk.{layer}.ffn_norm.weight": np.ones(64, np.float32),
            f"blk.{layer}.attn_q.weight": matrix(64, 64),
            f"blk.{layer}.attn_k.weight": matrix(32, 64),
            f"blk.{layer}.attn_v.weight": matrix(32, 64),
            f"blk.{layer}.attn_output.weight": matrix(64, 64),
            f"blk.{layer}.ffn_gate.weight": matrix(96, 64),
            f"blk.{layer}.ffn_up.weight": matrix(96, 64),
            f"blk.{layer}.ffn_down.weight": matrix(64, 96),
        }
    return tensors


@pytest.fixture
def tiny_metadata() -> dict[str, Any]:
    return dict(TINY)


@pytest.fixture
def tiny_tensors() -> Callable[..., dict[str, Any]]:
    return _tiny_tensors


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Path:
    """A valid llama, every matrix in Q4_0, with a small vocabulary."""
    tokens = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": [f"t{i}" for i in range(50)]}
    return _write_gguf(tmp_path / "tiny.gguf", "llama", {**TINY, **tokens}, _tiny_tensors(Kind.Q4_0))


def _blocks(kind: Kind, rows: int, width: int, seed: int = 3) -> np.ndarray:
    """Random blocks [rows, row bytes] whose float16 scales are of the size that real weights have."""
    rng = np.random.default_rng(seed)
    block, size_bytes = values_per_block(kind), block_bytes(kind)
    raw = rng.integers(0, 256, (rows * width // block, size_bytes), dtype=np.uint8)
    for start in HALVES.get(kind, ()):
        half = rng.uniform(1e-4, 2e-2, (len(raw), 1)).astype(np.float16)
        half *= rng.choice([-1, 1], half.shape).astype(np.float16)
        raw[:, start : start + 2] = half.view(np.uint8)
    if kind is Kind.MXFP4:
        raw[:, 0] = rng.integers(118, 124, len(raw))
    if kind is Kind.NVFP4:
        raw[:, :4] = rng.integers(0, 128, (len(raw), 4))
    return raw.reshape(rows, -1)


HALVES = {
    Kind.Q4_0: (0,), Kind.Q5_0: (0,), Kind.Q8_0: (0,), Kind.Q4_1: (0, 2), Kind.Q5_1: (0, 2),
    Kind.Q4_K: (0, 2), Kind.Q5_K: (0, 2), Kind.Q2_K: (80, 82), Kind.Q3_K: (108,), Kind.Q6_K: (208,),
    Kind.IQ2_XXS: (0,), Kind.IQ2_XS: (0,), Kind.IQ2_S: (0,), Kind.IQ3_XXS: (0,), Kind.IQ3_S: (0,),
    Kind.IQ1_S: (0,), Kind.IQ4_NL: (0,), Kind.IQ4_XS: (0,), Kind.TQ1_0: (52,), Kind.TQ2_0: (64,),
    Kind.Q1_0: (0,), Kind.Q2_0: (0,),
}  # fmt: skip
"""Where in a block the float16 scales lie."""


@pytest.fixture
def blocks() -> Callable[..., np.ndarray]:
    return _blocks


def _llama3_factors(dims: int, base: float, scaling: Mapping[str, Any]) -> np.ndarray:
    """rope_freqs.weight as convert_hf_to_gguf writes it (LlamaModel.generate_extra_tensors)."""
    original, factor = scaling["original_max_position_embeddings"], scaling["factor"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    factors = []
    for index in range(0, dims, 2):
        wavelength = 2 * math.pi * base ** (index / dims)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, np.float32)


@pytest.fixture
def llama3_factors() -> Callable[..., np.ndarray]:
    return _llama3_factors
