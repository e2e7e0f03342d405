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


def source_logits(network: Any, tensors: Mapping[str, LazyTensor], ids: list[int]) -> mx.array:
    """Run the source on `ids`, and return its logits [T, V] in float32.

    Args:
        network: a fresh network that the source's names have been sanitized for.
        tensors: the source's tensors under its names, unpacked.
    """
    return _logits(network, lazy_weights(tensors), ids)


def converted_logits(directory: Path, config: dict[str, Any], ids: list[int]) -> mx.array:
    """Run the converted model in `directory`, with its `config`, on `ids`, and return its logits [T, V] in float32."""
    checkpoint = open_huggingface(directory)
    network = build_network(config, directory)
    weights = lazy_weights(unpacked(checkpoint.tensors, checkpoint.quantization))
    return _logits(network, sanitized_weights(network, weights), ids)


def _logits(network: Any, weights: dict[str, mx.array], ids: list[int]) -> mx.array:
    """Logits [T, V] in float32, computed in float32 whatever the storage.

    Takes `weights` over: the network's references are dropped layer by layer, and must be the last ones.
    """
    load_lazily(network, weights)
    forget_layers(network)
    logits: mx.array = network(mx.array([ids]))[0].astype(mx.float32)
    mx.eval(logits)
    return logits
