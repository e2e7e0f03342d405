"""Tiny seeded mlx-lm networks, made from configs without a checkpoint, and batches for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_map, tree_map_with_path

from edgelm.tune.batches.batcher import TrainingBatch
from edgelm.zoo.network import build_network

VOCAB = 128

_COMMON: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": VOCAB, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0,
    "max_position_embeddings": 512,
}  # fmt: skip

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "tie_word_embeddings": False},
    "llama-tied": {"model_type": "llama", "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", "head_dim": 16, "tie_word_embeddings": True},
    "gemma2": {
        "model_type": "gemma2", "head_dim": 16, "query_pre_attn_scalar": 16,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 3.0,
    },
    "phi3": {"model_type": "phi3", "num_key_value_heads": 4},
    "granite": {
        "model_type": "granite", "logits_scaling": 4.0, "attention_multiplier": 0.25,
        "embedding_multiplier": 2.0, "residual_multiplier": 0.5, "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": True,
    },
    "cohere": {"model_type": "cohere", "logit_scale": 0.25, "layer_norm_eps": 1e-5},
    "qwen3_moe": {
        "model_type": "qwen3_moe", "head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2,
        "decoder_sparse_step": 1, "mlp_only_layers": [], "moe_intermediate_size": 32, "norm_topk_prob": True,
        "tie_word_embeddings": False,
    },
}  # fmt: skip


def make_network(kind: str = "llama", *, bits: int | None = None, **changes: Any) -> Any:
    """A network with weights large enough that what came before matters."""
    mx.random.seed(7)
    network = build_network({**_COMMON, **CONFIGS[kind], **changes}, Path(kind))
    network.update(tree_map_with_path(_enlarge, network.parameters()))
    if bits is not None:
        nn.quantize(network, 32, bits)
    mx.eval(network.parameters())
    return network


def _enlarge(path: str, value: mx.array) -> mx.array:
    is_layer = path.endswith("weight") and value.ndim >= 2 and "embed" not in path
    return value * 2 if is_layer else value


def make_batch(
    sizes: Sequence[int], *, length: int | None = None, seed: int = 0, vocab: int = VOCAB
) -> TrainingBatch:
    """One lane a row of `sizes` tokens, of which the first third is not trained."""
    random = np.random.default_rng(seed)
    width = length or max(sizes)
    inputs = np.zeros((len(sizes), width), np.int32)
    targets, weights = np.zeros_like(inputs), np.zeros((len(sizes), width), np.float32)
    for lane, size in enumerate(sizes):
        tokens = random.integers(3, vocab, size + 1)
        inputs[lane, :size], targets[lane, :size] = tokens[:-1], tokens[1:]
        weights[lane, size // 3 : size] = 1
    return TrainingBatch(inputs, targets, weights, None, np.array(sizes, np.int32), tuple(range(len(sizes))))


def lanes(batch: TrainingBatch, *which: int) -> TrainingBatch:
    """Some lanes of a batch."""
    index = list(which)
    return TrainingBatch(
        batch.inputs[index], batch.targets[index], batch.weights[index], None,
        batch.lengths[index], tuple(batch.rows[i] for i in index),
    )  # fmt: skip


def moved_by_one_ulp(network: Any, gradients: Callable[[], dict[str, mx.array]]) -> dict[str, float]:
    """How far each gradient moves where weights move by at most one unit in their last place, at most of three draws.

    What rounds otherwise on another machine, or in another order, can move them as far.
    """
    weights, random = network.parameters(), np.random.default_rng(0)
    expected = gradients()

    def nudged(weight: mx.array) -> mx.array:
        ulps = mx.array(random.integers(-1, 2, weight.shape) * 2.0**-23, dtype=weight.dtype)
        return weight * (1 + ulps)

    moved = dict.fromkeys(expected, 0.0)
    for _ in range(3):
        network.update(tree_map(nudged, weights))
        for path, gradient in gradients().items():
            moved[path] = max(moved[path], float(mx.abs(gradient - expected[path]).max()))
    network.update(weights)
    return moved
