"""The one seam between this product and a language model's network: what may be asked of it, whatever built it.

mlx-lm's modules are such networks as they are, and so are the fakes of tests. What an architecture may have or lack is asked
by the functions here; final hidden states and the head by `edgelm.zoo.body_and_head`, caches by `edgelm.zoo.caches.maker`.

Shapes: B sequences, T tokens, C hidden width, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import mlx.core as mx

from edgelm.errors import UnsupportedError


class Network(Protocol):
    """A language model's network: an `mlx.nn.Module` that makes logits of token ids."""

    @property
    def layers(self) -> Sequence[Any]:
        """Return the blocks between embedding and head, in the order in which they run."""

    def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
        """Return logits `[B, T, V]` of token ids `[B, T]`, not yet evaluated.

        Args:
            cache: one cache for each layer, which holds the tokens before these and takes these in; None keeps nothing.
        """

    def parameters(self) -> Any:
        """Return the arrays in nested dictionaries and lists."""

    def named_modules(self) -> Any:
        """Return (dotted path, module) of every module."""

    def update(self, parameters: Any, strict: bool = True) -> Any:
        """Put arrays in place of those under the same names; `strict` refuses names that the network does not have."""


def embed(network: Any, ids: mx.array) -> mx.array:
    """Return the embeddings `[B, T, C]` of token ids `[B, T]`, as `forward` takes them: before an architecture scales them.

    Raises:
        UnsupportedError: the network computes from ids only.
    """
    inside = tuple(f"{path}." for path in layer_paths(network))
    tables = [
        module
        for path, module in network.named_modules()
        if path.rpartition(".")[2] in _TABLES and not path.startswith(inside)
    ]
    _require_embeddings(network, has_table=bool(tables))
    vectors: mx.array = tables[0](ids)
    return vectors


def forward(
    network: Any, ids: mx.array, cache: Any = None, *, embeddings: mx.array | None = None
) -> mx.array:
    """Return logits `[B, T, V]` of token ids `[B, T]`, or of `embeddings` `[B, T, C]` that stand for them.

    Raises:
        UnsupportedError: `embeddings` are given, and the network computes from ids only.
    """
    if embeddings is None:
        logits: mx.array = network(ids, cache=cache)
        return logits
    _require_embeddings(network)
    with_embeddings: mx.array = network(ids, cache=cache, input_embeddings=embeddings)
    return with_embeddings


_TABLES = ("embed_tokens", "embed")
"""Names of the table of token embeddings in the architectures that take embeddings."""


def _require_embeddings(network: Any, *, has_table: bool = True) -> None:
    if not has_table or "input_embeddings" not in inspect.signature(type(network).__call__).parameters:
        raise UnsupportedError(
            f"{architecture_of(network)} computes from token ids only, so nothing can stand in place of embeddings"
        )


def architecture_of(network: Any) -> str:
    """Return the name of the architecture, for messages."""
    return str(getattr(network, "model_type", type(network).__module__.rpartition(".")[2]))


def layer_paths(network: Network) -> list[str]:
    """Return the dotted path of every layer, in the order in which they run, as often as it runs."""
    paths = {id(module): path for path, module in network.named_modules()}
    return [paths[id(layer)] for layer in network.layers]


def may_cast(network: Any, path: str) -> bool:
    """Return whether the parameter at `path` may be cast to another floating type, as far as the architecture says."""
    predicate = getattr(network, "cast_predicate", None)
    return predicate is None or bool(predicate(path))


def sanitized_weights(network: Any, weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """Return `weights` under the names, and in the layout, of the network: what mlx-lm does on every load."""
    if not hasattr(network, "sanitize"):
        return weights
    named: dict[str, mx.array] = network.sanitize(weights)
    return named
