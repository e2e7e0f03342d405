"""Tiny seeded networks of several architectures, evaluated, with logits that differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from edgelm.zoo.network import build_network

VOCAB = 96
_COMMON: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "num_attention_heads": 4,
    "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "vocab_size": VOCAB, "max_position_embeddings": 256,
}  # fmt: skip

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False},
    "qwen3": {"head_dim": 16, "tie_word_embeddings": True, "rope_theta": 1e4},
    "gemma2": {"head_dim": 16, "query_pre_attn_scalar": 16, "final_logit_softcapping": 30.0},
    "gemma3_text": {"head_dim": 16, "sliding_window": 16, "sliding_window_pattern": 2},
    "cohere": {"layer_norm_eps": 1e-5, "logit_scale": 0.0625, "rope_theta": 1e4},
    "gpt2": {
        "n_ctx": 256, "n_embd": 64, "n_head": 4, "n_layer": 2, "n_positions": 256, "layer_norm_epsilon": 1e-5,
    },
    "mamba": {
        "intermediate_size": 128, "state_size": 8, "conv_kernel": 4, "use_bias": False, "use_conv_bias": True,
        "time_step_rank": 4,
    },
}  # fmt: skip
"""Architecture → what its config has beside the common part."""


def make_network(architecture: str, *, seed: int = 0, scale: float = 0.3, **changes: Any) -> Any:
    """A random network in float32 whose logits are spread out."""
    config = {"model_type": architecture, **_COMMON, **CONFIGS[architecture], **changes}
    mx.random.seed(seed)
    network = build_network(config, Path(architecture))
    network.update(
        tree_map(
            lambda value: mx.random.normal(value.shape) * scale if value.ndim > 1 else value,
            network.parameters(),
        )
    )
    network.eval()
    mx.eval(network.parameters())
    return network


def perturbed(network: Any, *, noise: float = 0.02, seed: int = 1) -> Any:
    """Change `network` a little, in place, as quantization would."""
    mx.random.seed(seed)
    network.update(
        tree_map(lambda value: value + mx.random.normal(value.shape) * noise, network.parameters())
    )
    mx.eval(network.parameters())
    return network
