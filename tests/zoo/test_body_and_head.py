"""Cutting a network in two: the same logits, nothing changed, and the body can go."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from networks import CONFIGS, make_network

from edgelm.zoo.body_and_head import cut

IDS = mx.array([[5, 9, 2, 40, 7, 7, 60, 3]])


@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_halves_together_are_the_network(architecture: str) -> None:
    network = make_network(architecture)
    halves = cut(network)
    assert halves is not None
    assert mx.array_equal(halves.head(halves.hidden(IDS)), network(IDS))


def test_logits_may_be_computed_in_pieces() -> None:
    network = make_network("gemma2")
    halves = cut(network)
    assert halves is not None
    hidden = halves.hidden(IDS)
    pieces = mx.concatenate([halves.head(hidden[:, :3]), halves.head(hidden[:, 3:])], axis=1)
    assert mx.allclose(pieces, network(IDS), atol=1e-5)


def test_a_wrapped_network_is_cut_inside() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.language_model = make_network("llama")

        def __call__(self, ids: mx.array, cache: Any = None) -> mx.array:
            logits: mx.array = self.language_model(ids, cache) * 2
            return logits

    network = Wrapped()
    halves = cut(network)
    assert halves is not None
    assert mx.array_equal(halves.head(halves.hidden(IDS)), network(IDS))


def test_the_network_stays_as_it_was() -> None:
    network = make_network("qwen3")
    before = [name for name, _ in tree_flatten(network.parameters())]
    body = network.model
    halves = cut(network)
    assert halves is not None
    halves.head(halves.hidden(IDS))
    assert network.model is body
    assert [name for name, _ in tree_flatten(network.parameters())] == before


@pytest.mark.slow
def test_a_head_does_not_keep_the_body() -> None:
    network = make_network("qwen3")
    layer = weakref.ref(network.layers[0])
    halves = cut(network)
    assert halves is not None
    head, hidden, expected = halves.head, halves.hidden(IDS), network(IDS)
    mx.eval(hidden, expected)
    del network, halves
    gc.collect()
    assert layer() is None
    assert mx.array_equal(head(hidden), expected)


def test_a_head_that_needs_more_than_hidden_states_is_not_cut() -> None:
    class Odd(nn.Module):
        """Adds the input's embedding to the logits, which hidden states do not hold."""

        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Embedding(8, 4)
            self.lm_head = nn.Linear(4, 8)

        def __call__(self, ids: mx.array, cache: Any = None) -> mx.array:
            logits: mx.array = self.lm_head(self.model(ids)) + ids[..., None]
            return logits

    assert cut(Odd()) is None
