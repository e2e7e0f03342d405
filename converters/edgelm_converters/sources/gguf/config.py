"""GGUF metadata → a transformers `config.json`.

Sizes come from the metadata and are held against every tensor's shape. What families have is in families/; here is what holds
for all: which family it is, and that no key is left unread which could change a number.
Keys: gguf/constants.py; reverse of llama.cpp's conversion, `set_gguf_parameters`.
"""

from __future__ import annotations

import difflib
from typing import Any

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.registry import ARCHITECTURES
from edgelm_converters.sources.gguf.families.settings import base_config
from edgelm_converters.sources.gguf.generation import token_ids
from edgelm_converters.sources.gguf.metadata import Keys
from edgelm_converters.sources.gguf.parts import GGUFModel

INFORMATION = frozenset(
    {
        "vocab_size", "tensor_data_layout", "pooling_type", "rope.scaling.type", "rope.scaling.finetuned",
        "rope.scaling.original_context_length", "embedding_length_out", "nextn_predict_layers",
        # A family's norms have one or the other.
        "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon",
    }
)  # fmt: skip
"""Keys that change no number, or say what the tensors say too."""


def read_keys(model: GGUFModel) -> tuple[Keys, GGUFFamily]:
    """Read the metadata of the file's architecture; with what is known about it.

    Raises:
        FormatError: the file names no architecture.
        UnsupportedError: it names one that edgelm does not convert, or is not a language model.
    """
    path = model.files[0]
    name = model.metadata.get("general.architecture")
    if not isinstance(name, str):
        raise FormatError(f"{path} has general.architecture {name!r}, expected a name")
    purpose = model.metadata.get("general.type", "model")
    if purpose != "model":
        raise UnsupportedError(f"{path} is a GGUF of type {str(purpose)[:80]!r}, expected a model")
    if name not in ARCHITECTURES:
        near = difflib.get_close_matches(name, ARCHITECTURES, n=3)
        raise UnsupportedError(
            f"{path} has the architecture {name[:80]!r}, which is none of the {len(ARCHITECTURES)} that edgelm converts"
            + (f" (near it: {', '.join(near)})" if near else ""),
            hint="convert it from its Hugging Face checkpoint instead; docs/gguf.md lists the families",
        )
    keys, family = Keys(model.metadata, name, path), ARCHITECTURES[name]
    family = family.variant(keys) if family.variant else family
    if keys.count("expert_count") and not family.has_experts:
        raise UnsupportedError(
            f"{path} is a mixture of {keys.count('expert_count')} experts, expected a dense {name} model",
            hint="convert it from its Hugging Face checkpoint instead",
        )
    if not keys.flag("attention.causal", True):
        raise UnsupportedError(f"{path} has attention in both directions, expected a model that writes text")
    return keys, family


def build_config(family: GGUFFamily, reading: Reading) -> Config:
    """Build the whole `config.json`.

    Raises:
        FormatError: a required key is missing or holds nonsense.
        UnsupportedError: rope scaling that edgelm does not know, or a key that nothing read and that may change numbers.
    """
    config = base_config(family, reading)
    family.configure(config, reading)
    _refuse_unread(family, reading.keys)
    return {**config, **token_ids(reading.keys)}


def _refuse_unread(family: GGUFFamily, keys: Keys) -> None:
    known = INFORMATION | family.ignored_keys
    unread = {
        name: value for name, value in keys.unread().items() if name not in known and not _is_nothing(value)
    }
    # A factor belongs to a kind of scaling; without one it is 1.
    unread.pop("rope.scaling.factor", None)
    if unread.get("rope.scale_linear") == 1:  # as files of 2023 say that nothing is scaled
        del unread["rope.scale_linear"]
    if unread:
        name, value = next(iter(sorted(unread.items())))
        raise UnsupportedError(
            f"{keys.path} has {keys.architecture}.{name} {str(value)[:80]!r}, which edgelm does not know in a "
            f"{keys.architecture} model",
            hint="convert it from its Hugging Face checkpoint instead",
        )


def _is_nothing(value: Any) -> bool:
    """Whether a value says that something is not used."""
    return value in (0, False, "", []) or (
        isinstance(value, list) and all(each in (0, False) for each in value)
    )
