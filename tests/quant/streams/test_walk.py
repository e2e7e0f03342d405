"""A layer run alone gives what it gives in the whole network, for every architecture, and whatever is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from edgelm.errors import UnsupportedError
from edgelm.quant.streams.activations import Activations
from edgelm.quant.streams.walk import Walk
from edgelm.zoo.network import build_network

COMMON: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 50, "rms_norm_eps": 1e-5, "head_dim": 16, "max_position_embeddings": 128,
    "tie_word_embeddings": True,
}  # fmt: skip
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False},
    "gemma3_text": {"sliding_window": 8, "sliding_window_pattern": 2, "query_pre_attn_scalar": 16},
    "qwen3_moe": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "decoder_sparse_step": 1,
        "mlp_only_layers": [], "norm_topk_prob": True, "rope_theta": 1e4,
    },
    # Shared keys and values travel beside the hidden states.
    "hunyuan": {
        "use_cla": True, "cla_share_factor": 2, "num_experts": 2, "moe_topk": 1, "num_shared_expert": 1,
        "use_mixed_mlp_moe": True, "use_qk_norm": True, "rope_theta": 1e4, "attention_bias": False,
        "rope_scaling": {"type": "dynamic", "alpha": 1000.0, "factor": 1.0},
    },
    # Two kinds of layers, and a state that no position of a cache holds.
    "lfm2": {
        "norm_eps": 1e-5, "conv_bias": False, "conv_L_cache": 3, "block_dim": 64, "block_ff_dim": 96,
        "block_multiple_of": 8, "block_ffn_dim_multiplier": 1.0, "block_auto_adjust_ff_dim": False,
        "full_attn_idxs": [1, 3], "rope_theta": 1e4,
    },
    "rwkv7": {
        "a_low_rank_dim": 8, "v_low_rank_dim": 8, "gate_low_rank_dim": 8, "decay_low_rank_dim": 8, "norm_eps": 1e-5,
    },
}  # fmt: skip


def make_network(name: str) -> tuple[Any, dict[str, mx.array]]:
    mx.random.seed(4)
    network = build_network({**COMMON, "model_type": name, **ARCHITECTURES[name]}, Path("nowhere"))
    flat: Any = tree_flatten(network.parameters())
    parameters = {
        path: mx.random.normal(value.shape) * (0.2 if value.ndim > 1 else 1.0) for path, value in flat
    }
    network.load_weights(list(parameters.items()))
    network.eval()
    mx.eval(parameters)
    return network, parameters


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
@pytest.mark.parametrize("budget_bytes", [0, 1 << 30], ids=["spilled", "held"])
def test_layer_by_layer_is_the_whole(name: str, budget_bytes: int, tmp_path: Path) -> None:
    network, parameters = make_network(name)
    batches = [mx.random.randint(0, 50, (2, 12)) for _ in range(2)]
    expected = [network(ids) for ids in batches]
    mx.eval(expected)

    walk = Walk(network, parameters.__getitem__, batches, Activations(budget_bytes, tmp_path))
    for index in range(len(walk.layers)):
        walk.unload(index)
    walk.load(None)
    walk.check()
    walk.begin("source")
    for index in range(len(walk.layers)):
        walk.load(index)
        walk.advance(index, "source")
        walk.unload(index)
    for batch, logits in enumerate(expected):
        assert mx.allclose(walk.logits("source", batch), logits, atol=1e-4)
    head = walk.head_input("source", 0)
    assert head is not None
    assert walk.head == head[0]
    assert head[1].shape == (2, 12, 64)
    assert head[0] in ("lm_head", "model.lm_head", "model.embed_tokens", "model.embeddings")


def test_a_stream_can_begin_from_other_vectors() -> None:
    network, parameters = make_network("llama")
    walk = Walk(network, parameters.__getitem__, [mx.array([[1, 2]])], Activations(1 << 30, Path("unused")))
    walk.load(None)
    walk.begin("source")
    walk.begin("other", {"model.embed_tokens": lambda ids: mx.zeros((*ids.shape, 64))})
    assert walk.activations.get(("other", 0))["hidden"].sum().item() == 0
    assert walk.activations.get(("source", 0))["hidden"].sum().item() != 0


def test_an_architecture_that_hands_things_on_around_its_layers_is_refused() -> None:
    class Layer(nn.Module):
        def __call__(self, hidden: mx.array, memory: list[mx.array]) -> mx.array:
            memory.append(hidden)
            return hidden + memory[0].sum(axis=-1, keepdims=True) * self.scale

        def __init__(self) -> None:
            super().__init__()
            self.scale = mx.ones((1,))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 8)
            self.layers = [Layer(), Layer()]

        def __call__(self, ids: mx.array) -> mx.array:
            hidden, memory = self.embed(ids), []  # type: ignore[var-annotated]
            for layer in self.layers:
                hidden = layer(hidden, memory)
            return hidden

    network = Network()
    flat: Any = dict(tree_flatten(network.parameters()))
    walk = Walk(network, flat.__getitem__, [mx.array([[1, 2, 3]])], Activations(1 << 20, Path("unused")))
    walk.load(None)
    with pytest.raises(UnsupportedError, match="layer 1 depends on more"):
        walk.check()


def test_one_layer_at_several_depths_is_refused() -> None:
    network, parameters = make_network("llama")
    network.layers[2] = network.layers[1]
    with pytest.raises(UnsupportedError, match="several depths"):
        Walk(network, parameters.__getitem__, [mx.array([[1]])], Activations(0, Path("unused")))
