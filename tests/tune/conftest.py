"""Tiny seeded networks of the families that may be packed, and rows of random tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map_with_path

from edgelm.tune.data.dataset import Dataset
from edgelm.tune.data.rows import Example, RowOrigin
from edgelm.zoo.configs.normalise import normalise_config
from edgelm.zoo.network import build_network

VOCAB = 97
WINDOW = 8

COMMON: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": VOCAB, "rms_norm_eps": 1e-5, "head_dim": 8,
    "max_position_embeddings": 512, "rope_theta": 10_000.0, "tie_word_embeddings": True,
}  # fmt: skip

LONGROPE = {
    "type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4,
}  # fmt: skip

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "llama, sliding": {
        "model_type": "llama", "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "mistral": {"model_type": "mistral"},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3"},
    "gemma": {"model_type": "gemma"},
    "gemma2": {"model_type": "gemma2", "query_pre_attn_scalar": 8.0},
    "gemma2, ungrouped": {"model_type": "gemma2", "query_pre_attn_scalar": 8.0, "num_key_value_heads": 4},
    "gemma3_text": {
        "model_type": "gemma3_text", "query_pre_attn_scalar": 8.0, "sliding_window": WINDOW,
        "sliding_window_pattern": 3,
    },
    "phi3": {"model_type": "phi3"},
    "phi3, longrope": {
        "model_type": "phi3", "rope_scaling": LONGROPE, "original_max_position_embeddings": 256,
    },
    "olmo2": {"model_type": "olmo2"},
    "starcoder2": {"model_type": "starcoder2", "norm_epsilon": 1e-5},
    "smollm3": {"model_type": "smollm3", "no_rope_layer_interval": 2},
}  # fmt: skip
"""Name → what differs from COMMON."""


def config_of(name: str) -> dict[str, Any]:
    return normalise_config({**COMMON, **CONFIGS[name]})


@pytest.fixture
def tiny() -> Callable[[str], tuple[Any, dict[str, Any]]]:
    """`tiny(name)` → a seeded float32 network whose attention matters, and its config."""

    def build(name: str) -> tuple[Any, dict[str, Any]]:
        mx.random.seed(3)
        config = config_of(name)
        network = build_network(config, Path(name))
        network.update(tree_map_with_path(_enlarge, network.parameters()))
        mx.eval(network.parameters())
        return network, config

    return build


def _enlarge(path: str, values: mx.array) -> mx.array:
    is_layer = path.endswith("weight") and values.ndim == 2 and "embed" not in path
    return values * 2 if is_layer else values


def make_dataset(sizes: list[int], seed: int = 0) -> Dataset:
    """Random rows of so many tokens, the first third of each untrained."""
    rng = np.random.default_rng(seed)
    return Dataset(
        tuple(
            Example(
                tuple(rng.integers(1, VOCAB, size).tolist()),
                tuple(at > 0 and at >= size // 3 for at in range(size)),
                RowOrigin("made", line),
            )
            for line, size in enumerate(sizes, start=1)
        )
    )
