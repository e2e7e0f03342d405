"""Chunked cross-entropy is cross-entropy, through every kind of head; and it holds no more than a chunk."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from tune_networks import CONFIGS, VOCAB, make_batch, make_network

from edgelm.tune.step.head import find_head
from edgelm.tune.step.losses import chunked_cross_entropy, chunked_loss, plain_cross_entropy

KINDS = [*((kind, None) for kind in CONFIGS), ("llama", 4), ("llama-tied", 4), ("gemma2", 8)]


def both(network: Any, chunk: int) -> tuple[Any, Any]:
    """(loss, gradients) in one piece by MLX's own function, and in chunks."""
    batch = make_batch([11, 17, 5])
    inputs, targets = mx.array(batch.inputs), mx.array(batch.targets).reshape(-1)
    weights = mx.array(batch.weights).reshape(-1)
    head = find_head(network)
    assert head is not None

    def plain(parameters: Any) -> mx.array:
        network.update(parameters)
        logits = network(inputs).reshape(-1, VOCAB)
        return (nn.losses.cross_entropy(logits, targets) * weights).sum()

    def chunked(parameters: Any) -> Any:
        network.update(parameters)
        hidden = head.hidden(inputs)
        return chunked_cross_entropy(head, hidden.reshape(-1, hidden.shape[-1]), targets, weights, chunk)

    parameters = network.trainable_parameters()
    expected = mx.value_and_grad(plain)(parameters)
    network.update(parameters)
    (_, loss), gradients = mx.value_and_grad(chunked)(parameters)
    network.update(parameters)
    return expected, (loss, gradients)


def _unfreeze_norms(_: str, module: Any) -> None:
    if type(module).__name__ == "RMSNorm":
        module.unfreeze(keys=["weight"])


def difference(left: Any, right: Any) -> float:
    pairs = zip(tree_flatten(left), tree_flatten(right), strict=True)
    return max((mx.abs(a - b).max() / (mx.abs(a).max() + 1)).item() for (_, a), (_, b) in pairs)


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_chunks_equal_the_whole_for_every_weight_of_the_network(kind: str, bits: int | None) -> None:
    network = make_network(kind, bits=bits)
    if bits:
        network.freeze()
        network.apply_to_modules(_unfreeze_norms)
    expected, got = both(network, 8)
    assert got[0].item() == pytest.approx(expected[0].item(), rel=1e-6)
    assert difference(expected[1], got[1]) < 1e-6
    assert tree_flatten(got[1])


def test_without_a_gradient_the_loss_is_the_same() -> None:
    network = make_network("gemma2")
    head = find_head(network)
    assert head is not None
    hidden = head.hidden(mx.array([[5, 6, 7, 8, 9]]))[0]
    targets, weights = mx.array([6, 7, 8, 9, 10]), mx.array([1.0, 0.0, 1.0, 1.0, 1.0])
    whole = plain_cross_entropy(head.logits(hidden[None])[0], targets, weights).loss
    assert chunked_loss(head, hidden, targets, weights, 2).item() == pytest.approx(whole.item(), rel=1e-6)


@pytest.mark.slow
def test_peak_memory_is_that_of_a_chunk() -> None:
    mx.random.seed(0)
    network = make_network("llama", vocab_size=20_000)
    network.freeze()
    head = find_head(network)
    assert head is not None
    hidden, targets = mx.random.normal((2048, 64)), mx.random.randint(0, 20_000, (2048,))
    weights = mx.ones((2048,))
    mx.eval(hidden, targets, weights)

    def peak_bytes(chunk: int) -> int:
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        loss = mx.grad(lambda x: chunked_cross_entropy(head, x, targets, weights, chunk).surrogate)
        mx.eval(loss(hidden))
        return mx.get_peak_memory() - before

    all_logits_bytes = 2048 * 20_000 * 4
    assert peak_bytes(2048) > all_logits_bytes
    assert peak_bytes(64) < all_logits_bytes / 2


def test_a_network_whose_parts_do_not_make_the_whole_is_left_whole() -> None:
    network = make_network("llama")
    kind = type(network)

    class Twice(kind):  # type: ignore[misc, valid-type]
        """Its logits depend on the ids beyond the hidden states."""

        def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
            return kind.__call__(self, inputs, cache) + inputs[..., None]

    network.__class__ = Twice
    assert find_head(network) is None
