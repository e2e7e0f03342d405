"""Networks by their protocol: embeddings in place of ids give the same logits; what takes none is refused by name."""

from __future__ import annotations

import mlx.core as mx
import pytest
from networks import VOCAB, make_network

from edgelm.errors import UnsupportedError
from edgelm.zoo.caches.maker import layer_maker
from edgelm.zoo.protocol import embed, forward, layer_paths

IDS = mx.random.randint(0, VOCAB, (2, 24), key=mx.random.key(3))


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3_text"])
def test_embeddings_stand_for_ids(architecture: str) -> None:
    network = make_network(architecture)
    expected = forward(network, IDS)
    assert mx.array_equal(forward(network, IDS, embeddings=embed(network, IDS)), expected)
    zeros = mx.zeros_like(IDS)
    assert mx.array_equal(forward(network, zeros, embeddings=embed(network, IDS)), expected)


def test_embeddings_go_into_the_cache() -> None:
    network = make_network("llama")
    layers = layer_maker(network)()
    forward(network, IDS[:, :16], layers, embeddings=embed(network, IDS[:, :16]))
    rest = forward(network, IDS[:, 16:], layers)
    assert mx.allclose(rest, network(IDS)[:, 16:], atol=1e-4)


def test_what_computes_from_ids_only_is_refused_by_name() -> None:
    network = make_network("gpt2")
    with pytest.raises(UnsupportedError, match="gpt2 computes from token ids only"):
        embed(network, IDS)
    with pytest.raises(UnsupportedError, match="gpt2 computes from token ids only"):
        forward(network, IDS, embeddings=mx.zeros((2, 24, 64)))


def test_layers_have_paths() -> None:
    assert layer_paths(make_network("llama")) == ["model.layers.0", "model.layers.1"]
    assert layer_paths(make_network("gpt2")) == ["model.h.0", "model.h.1"]
