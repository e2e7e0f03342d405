"""Whether the head is the embedding: what the tensors say, where the config says otherwise or nothing.

transformers 5.24 (`modeling_utils.tie_weights`) ties only where it can: a `lm_head.weight` that differs from the
embedding is kept whatever `tie_word_embeddings` says; one of the same values is tied to it; the one that is there stands
for the other. mlx-lm drops a head as soon as the config says tied, or says nothing. Here the config is set right before
anybody builds a network from it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import mlx.core as mx

from edgelm import log
from edgelm.zoo.configs.sources import family_source
from edgelm.zoo.network import build_network
from edgelm.zoo.tree import flat_parameters

T = TypeVar("T")
Config = dict[str, Any]

_HEAD = re.compile(r"(?:^|\.)lm_head\.weight$")
_EMBEDDING = re.compile(
    r"(?:^|\.)(?:embed_tokens|embedding|embeddings|wte|word_embeddings|tok_embeddings|embed_in)\.weight$"
)
_NOT_TEXT = re.compile(r"(?:^|\.)(?:vision\w*|visual|audio\w*|multi_modal_projector|mtp)\.|_per_layer")
_TIED = "tie_word_embeddings"
_CHUNK_ROWS = 1 << 14
_DECIDES_BY_PRESENCE = '.pop("lm_head")'
"""Gemma 3 and RecurrentGemma drop their head in `sanitize` where the checkpoint has none."""


@dataclass(frozen=True)
class Settled:
    """What was found."""

    config: Config
    """With `tie_word_embeddings` as the tensors want it."""
    dropped: str | None = None
    """A tensor to be left out: it is the embedding once more."""
    copied: tuple[str, str] | None = None
    """(missing tensor, the one that stands for it)."""
    note: str | None = None
    """What the receipt says of it."""


def settle(
    config: Config, names: Mapping[str, Any], are_equal: Callable[[str, str], bool], directory: Path
) -> Settled:
    """Return the config that the tensors want, for a normalised `config`.

    Args:
        names: the tensors of the checkpoint, by name.
        are_equal: compares two of them by shape and value.
        directory: for messages.
    """
    head, embedding = _find(names, _HEAD), _find(names, _EMBEDDING)
    if head is not None and embedding is not None:
        return _both(config, head, embedding, are_equal, directory)
    if head is not None:
        return _head_alone(config, head, directory)
    if embedding is not None and f"{embedding.removesuffix('weight')}scales" not in names:
        return _embedding_alone(config, embedding, directory)
    return Settled(config)


def _both(
    config: Config, head: str, embedding: str, are_equal: Callable[[str, str], bool], directory: Path
) -> Settled:
    said = _said(config)
    if said is False:
        return Settled(_with_tied(config, False))
    if not are_equal(head, embedding):
        note = f"the config says tied, but {head} differs from {embedding}: both are kept" if said else None
        return Settled(_with_tied(config, False), note=note)
    if _has_head(tied := _with_tied(config, True), directory):
        return Settled(config)
    return Settled(tied, dropped=head, note=f"{head} is {embedding} once more: left out")


def _head_alone(config: Config, head: str, directory: Path) -> Settled:
    if not _is_tied(config):
        return Settled(config)
    found = _embedding_name(config, directory)
    if found is None:
        return Settled(config)
    prefix = head.removesuffix("lm_head.weight")
    name = found if not prefix or found.startswith(prefix) else prefix + found
    note = f"{name} is not there, and tied to {head}, which stands for it"
    tied = _with_tied(config, True)
    return Settled(tied, None if _has_head(tied, directory) else head, (name, head), note)


def _embedding_alone(config: Config, embedding: str, directory: Path) -> Settled:
    """Some architectures of mlx-lm have a head of their own whatever the config says."""
    if not _is_tied(config):
        return Settled(config)
    tied = _with_tied(config, True)
    if not _has_head(tied, directory):
        return Settled(tied)
    inside = embedding.startswith("language_model.") and "text_config" in config
    head = "language_model.lm_head.weight" if inside else "lm_head.weight"
    note = (
        f"{embedding} is the head as well, which this architecture of mlx-lm keeps apart: it is there twice"
    )
    return Settled(_with_tied(config, False), copied=(head, embedding), note=note)


def _find(names: Mapping[str, Any], pattern: re.Pattern[str]) -> str | None:
    found = [name for name in names if pattern.search(name) and not _NOT_TEXT.search(name)]
    return min(found, key=len) if found else None


def _said(config: Config) -> bool | None:
    """`tie_word_embeddings` as the config has it; the outer one counts, as in transformers."""
    text = config.get("text_config")
    said = config.get(_TIED, text.get(_TIED) if isinstance(text, dict) else None)
    return said if isinstance(said, bool) else None


def _is_tied(config: Config) -> bool:
    """Tell whether the head is tied, as said, or as transformers takes it where nothing is said."""
    said = _said(config)
    if said is not None:
        return said
    log.silence_known()
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING:
        return False
    return bool(getattr(CONFIG_MAPPING[kind](), _TIED, False))


def _with_tied(config: Config, is_tied: bool) -> Config:
    changed = copy.copy(config)
    changed[_TIED] = is_tied
    if isinstance(config.get("text_config"), dict):
        changed["text_config"] = {**config["text_config"], _TIED: is_tied}
    return changed


def _has_head(config: Config, directory: Path) -> bool:
    """Whether mlx-lm's network has a head of its own where the checkpoint has none."""
    if _DECIDES_BY_PRESENCE in family_source(config):
        return False
    return any(_HEAD.search(name) for name in flat_parameters(build_network(config, directory)))


def _embedding_name(config: Config, directory: Path) -> str | None:
    found = [name for name in flat_parameters(build_network(config, directory)) if _EMBEDDING.search(name)]
    return min(found, key=len) if found else None


def settled_config(config: Config, names: Mapping[str, Any], directory: Path) -> Config:
    """Return the config that the tensors in `directory` want; they are read only where it says tied and a head is there.

    Args:
        names: of the tensors.
    """
    if not _said(config) or _find(names, _HEAD) is None:
        return config
    from edgelm.zoo.weights.files import load_arrays

    return settle_arrays(config, load_arrays(directory), directory)[0]


def settle_arrays(
    config: Config, arrays: dict[str, mx.array], directory: Path
) -> tuple[Config, dict[str, mx.array]]:
    """Return the config to build a network from, and the arrays to give it."""
    found = settle(config, arrays, lambda one, other: are_equal(arrays[one], arrays[other]), directory)
    return found.config, applied(found, arrays)


def applied(found: Settled, tensors: Mapping[str, T]) -> dict[str, T]:
    """Return `tensors` without the one that is dropped, and with the one that another stands for."""
    result = dict(tensors)
    if found.copied is not None:
        missing, stands_for_it = found.copied
        result[missing] = tensors[stands_for_it]
    if found.dropped is not None:
        del result[found.dropped]
    return result


def are_equal(one: mx.array, other: mx.array) -> bool:
    """Return whether two tables have the same values, compared some rows at a time."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return all(
        bool(mx.array_equal(one[at : at + _CHUNK_ROWS], other[at : at + _CHUNK_ROWS]).item())
        for at in range(0, one.shape[0], _CHUNK_ROWS)
    )
