"""The contract between sources and the converter: a checkpoint is a config, named lazy tensors and a tokenizer.

A source (Hugging Face, PyTorch, Meta, GGUF) presents what it holds under the tensor names that
transformers publishes for the architecture, so that mlx-lm's own `sanitize` applies to all of them.
It reads nothing but headers until `LazyTensor.read` is called, one tensor at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.units import count


@dataclass(frozen=True, slots=True)
class LazyTensor:
    """A tensor that has not been read.

    `read()` returns an array of exactly `shape` and `dtype`, freshly each time; the caller drops it
    before it reads the next, so a source may not keep what it returned.
    """

    shape: tuple[int, ...]
    dtype: mx.Dtype
    read: Callable[[], mx.array]
    stored_as: str = ""
    """How the source stores it, as the source calls it: "BF16", "Q4_1", "torch.float16"."""
    is_lazy_array: bool = False
    """`read()` itself returns an unevaluated array over a file, which costs nothing until it is evaluated."""
    read_rows: Callable[[int, int], mx.array] | None = None
    """`read_rows(start, stop)` returns these of the first axis alone; None where a source cannot but read all of them."""

    @property
    def nbytes(self) -> int:
        """Size in bytes once read."""
        return math.prod(self.shape) * self.dtype.size


_WIDE = {"F64", "torch.float64"}


@dataclass(frozen=True, slots=True)
class SourceOrigin:
    """Where a checkpoint came from, for the manifest."""

    source: str
    """A Hub id, a path, or the name of an installed model package."""
    kind: str
    """"huggingface", "pytorch", "meta" or "gguf"."""
    files: tuple[Path, ...]
    """The weight files, for hashing."""
    revision: str | None = None
    """The Hub commit that was downloaded."""
    licence: str | None = None


@dataclass(frozen=True)
class SourceCheckpoint:
    """Published weights, not yet converted.

    `config` is a transformers `config.json` (as published: not yet normalised).
    `tensors` maps transformers tensor names to lazy tensors. A tensor the source stores already in an
    MLX-compatible quantization appears as the triple `X.weight` (uint32), `X.scales`, `X.biases`, and
    `quantization["X"]` is its `{"group_size": …, "bits": …, "mode": …}`; X is the module path.
    `write_tokenizer(directory)` writes tokenizer.json, tokenizer_config.json, the chat template and
    whatever else mlx-lm needs to load the tokenizer; it raises FormatError if the source has none.
    """

    origin: SourceOrigin
    config: dict[str, Any]
    tensors: Mapping[str, LazyTensor]
    write_tokenizer: Callable[[Path], None]
    quantization: dict[str, dict[str, Any]] = field(default_factory=dict)
    requantized: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Modules whose stored type MLX cannot hold, to be quantized to these settings instead."""
    generation_config: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    """What the receipt is to say of what was found."""


def wide_notes(checkpoint: SourceCheckpoint) -> list[str]:
    """Note for the receipt which tensors are wider in the source than MLX computes."""
    wide = [name for name, tensor in checkpoint.tensors.items() if tensor.stored_as in _WIDE]
    return [f"{count(len(wide), 'tensor')} of float64, {wide[0]!r} for one, read as float32"] if wide else []
