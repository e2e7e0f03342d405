"""Tiny models of transformers', published in a folder, and what mlx-lm makes of them with edgelm's fixes and without.

Every parameter is lively: norms, biases, gates, sinks and correction biases are not what they are initialised to, since a
network that never looks at one of them would be equal otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
import transformers
from checkpoints import VOCAB
from mlx_lm.models.cache import make_prompt_cache

from edgelm.zoo.configs.normalise import normalise_config, read_config
from edgelm.zoo.weights import network as loading

TOKENS = np.random.default_rng(1).integers(8, VOCAB, 70).tolist()
EQUAL = 2e-5
DIFFERENT = 1e-4


@dataclass(frozen=True)
class Upstream:
    """One thing that mlx-lm computes otherwise than transformers, and edgelm sets right."""

    file: str
    """The file of mlx-lm's that is corrected."""
    config: Callable[[], Any]
    """transformers' config of a tiny model that shows it."""
    fix: str
    """The module in `edgelm/zoo/fixes/`."""


@dataclass(frozen=True)
class Published:
    """A model in a folder, and the logits [T, V] of `TOKENS` by transformers."""

    directory: Path
    logits: np.ndarray
    network: Any

    def error(self, logits: np.ndarray) -> float:
        """The largest difference of the first logits, relative to the largest logit (of 1 at least)."""
        expected = self.logits[: len(logits)]
        return float(np.abs(logits - expected).max() / max(1.0, np.abs(expected).max()))


def enliven(network: Any, *, seed: int = 7) -> Any:
    """Give every floating parameter, and every correction bias, values of its own."""
    draw = torch.Generator().manual_seed(seed)
    biases = [(name, buffer) for name, buffer in network.named_buffers() if "correction" in name]
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *biases]:
            noise = torch.randn(value.shape, generator=draw)
            if "correction" in name:
                value.add_(noise * 0.3 - 1.2)  # below zero, as those of trained models are
            elif value.ndim > 1:
                value.copy_(noise * 0.12)
            else:
                value.add_(noise * 0.2)
    return network


def publish(config: Any, directory: Path) -> Published:
    """Write a lively model of `config`, in float32."""
    torch.manual_seed(5)
    kind = (
        transformers.AutoModelForImageTextToText
        if hasattr(config, "vision_config")
        else transformers.AutoModelForCausalLM
    )
    network = enliven(kind.from_config(config, attn_implementation="eager").eval())
    network.save_pretrained(directory)
    with torch.no_grad():
        logits = network(input_ids=torch.tensor([TOKENS])).logits[0].numpy()
    assert logits.std() > 0.05, "logits too flat to mean anything"
    return Published(directory, logits, network)


def mended(directory: Path) -> Any:
    """The network as edgelm loads it."""
    return loading.load_network(directory, normalise_config(read_config(directory)))[0]


def unmended(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The network that mlx-lm's code makes of edgelm's config and edgelm's names of tensors."""
    from edgelm.zoo import network as building

    with monkeypatch.context() as patch:
        patch.setattr(building, "use_named_settings", lambda *_: None)
        return mended(directory)


def logits_of(network: Any, ids: Sequence[int] = TOKENS) -> np.ndarray:
    """[T, V], in one piece."""
    return np.array(network(mx.array([list(ids)]))[0].astype(mx.float32))


def logits_in_pieces(network: Any, sizes: Sequence[int], ids: Sequence[int] = TOKENS) -> np.ndarray:
    """[T, V], fed through a cache `sizes` tokens at a time, the rest one by one."""
    caches, at, found = make_prompt_cache(network), 0, []
    for size in [*sizes, *[1] * (len(ids) - sum(sizes))]:
        found.append(
            np.array(network(mx.array([list(ids[at : at + size])]), cache=caches)[0].astype(mx.float32))
        )
        at += size
    return np.concatenate(found)
