"""What a conversion lost: the tokenizer's round trip, and the logits against the source's.

Both networks are run on one short text, one after the other, over lazily read weights that each layer
drops once it has run: memory holds a layer, the embedding and the head, not a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.model.load import load_tokenizer
from edgelm.zoo.network import build_network
from edgelm.zoo.protocol import sanitized_weights
from edgelm_converters.result.texts import LOGITS_TEXT, TOKENIZER_SAMPLE
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.huggingface.checkpoint import open_huggingface
from edgelm_converters.weights.packed import unpacked
from edgelm_converters.weights.streamed import forget_layers, lazy_weights, load_lazily

MAX_TOKENS = 128


@dataclass(frozen=True)
class LogitsComparison:
    """Converted against source over `tokens` positions of one text."""

    tokens: int
    mean_kl: float
    """Mean over positions of KL(source ‖ converted), in nats."""
    top1_agreement: float
    """Share of positions where both rank the same token first."""


@dataclass(frozen=True)
class RoundTrip:
    """decode(encode(line)) == line, line by line of the fixed sample."""

    lines: int
    exact: int
    changed: list[str]


@dataclass(frozen=True)
class TokenizerCheck:
    """What the written tokenizer does."""

    round_trip: RoundTrip
    ids: list[int]
    """Token ids of the text that logits are compared on."""


def check_tokenizer(directory: Path, config: dict[str, Any], source: str) -> TokenizerCheck:
    """Load the tokenizer in `directory` and try it on the fixed sample.

    Raises:
        FormatError, UnsafeError: it cannot be loaded; the message names `source`.
    """
    tokenizer = load_tokenizer(directory, config, shown=source)
    changed = [
        line
        for line in TOKENIZER_SAMPLE
        if tokenizer.decode(tokenizer.encode(line, add_special_tokens=False), skip_special_tokens=True)
        != line
    ]
    ids = tokenizer.encode(LOGITS_TEXT)[:MAX_TOKENS]
    round_trip = RoundTrip(len(TOKENIZER_SAMPLE), len(TOKENIZER_SAMPLE) - len(changed), changed)
    return TokenizerCheck(round_trip, ids)


def compare(
    network: Any, tensors: Mapping[str, LazyTensor], directory: Path, config: dict[str, Any], ids: list[int]
) -> LogitsComparison:
    """Run the source and the converted model on `ids`.

    Args:
        network: a fresh network that the source's names have been sanitized for.
        tensors: the source's tensors under its names, unpacked.
        directory: the converted model, with its `config`.
    """
    reference = _log_probabilities(network, lazy_weights(tensors), ids)
    checkpoint = open_huggingface(directory)
    again = build_network(config, directory)
    weights = lazy_weights(unpacked(checkpoint.tensors, checkpoint.quantization))
    weights = sanitized_weights(again, weights)
    converted = _log_probabilities(again, weights, ids)
    kl = (mx.exp(reference) * (reference - converted)).sum(axis=-1)
    same = mx.argmax(reference, axis=-1) == mx.argmax(converted, axis=-1)
    mean_kl: Any = mx.mean(kl).item()
    top1: Any = mx.mean(same.astype(mx.float32)).item()
    # Rounding in the last place can take the divergence of equal distributions below zero.
    return LogitsComparison(len(ids), max(0.0, mean_kl), top1)


def _log_probabilities(network: Any, weights: dict[str, mx.array], ids: list[int]) -> mx.array:
    """Natural-log probabilities [T, V] in float32, computed in float32 whatever the storage.

    Takes `weights` over: the network's references are dropped layer by layer, and must be the last ones.
    """
    load_lazily(network, weights)
    forget_layers(network)
    logits = network(mx.array([ids]))[0].astype(mx.float32)
    log_probabilities: mx.array = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    mx.eval(log_probabilities)
    return log_probabilities
