"""Adapters that change what tiny networks say, written as mlx-lm writes them, or on a network in memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.adapters.files import AdapterConfig, write_adapter
from edgelm.library.manifest import Manifest
from edgelm.zoo.lora import adaptable, wrap


def write_lora(
    directory: Path,
    network: Any,
    targets: str = r"(q|v|down)_proj",
    *,
    seed: int = 1,
    rank: int = 2,
    size: float = 0.3,
    dora: bool = False,
    base_sha256: str | None = None,
    base: str | None = None,
) -> Path:
    """A LoRA or DoRA adapter in `directory` for the modules of `network` whose path matches `targets`."""
    keys = iter(mx.random.split(mx.random.key(seed), 1000))
    tensors = {}
    for path, module in adaptable(network).items():
        if re.search(targets, path):
            layer = wrap(path, module, rank=rank, scale=2.0, dora=dora)
            for leaf in ("lora_a", "lora_b"):
                tensors[f"{path}.{leaf}"] = size * mx.random.normal(layer[leaf].shape, key=next(keys))
            if dora:
                tensors[f"{path}.m"] = layer.m * mx.random.uniform(0.5, 2.0, layer.m.shape, key=next(keys))
    directory.mkdir(parents=True)
    config = AdapterConfig(
        kind="dora" if dora else "lora", rank=rank, scale=2.0, base_sha256=base_sha256, base=base
    )
    write_adapter(directory, config, tensors, Manifest(source="base", kind="adapter"))
    return directory


def rows_of(runner: Any, ids: Sequence[Sequence[int]]) -> mx.array:
    """Logits of rows of one length, without caches."""
    return runner._logits(mx.array([list(row) for row in ids]), None)
