"""GGUF metadata → a transformers `config.json`.

Sizes come from the metadata and are later held against every tensor's shape. Knows no tensor data but
the small factor tables of RoPE, and nothing that one architecture alone has (variants.py does).
Keys: gguf/constants.py; reverse of convert_hf_to_gguf.py, set_gguf_parameters.
"""

from __future__ import annotations

from typing import Any

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.gguf.generation import token_ids
from edgelm_converters.sources.gguf.metadata import Keys
from edgelm_converters.sources.gguf.names import ARCHITECTURES, Architecture, Dimensions
from edgelm_converters.sources.gguf.parts import GGUFModel
from edgelm_converters.sources.gguf.reader import StoredTensor
from edgelm_converters.sources.gguf.rope import Factors, rope_base, rope_scaling
from edgelm_converters.sources.gguf.tensors import read_vector
from edgelm_converters.sources.gguf.variants import VARIANTS

Config = dict[str, Any]


def read_keys(model: GGUFModel) -> tuple[Keys, Architecture]:
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
    if name not in ARCHITECTURES or purpose != "model":
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnsupportedError(
            f"{path} is a GGUF of type {purpose!r} and architecture {name!r}, expected a model of {known}",
            hint="convert it from its Hugging Face checkpoint instead",
        )
    keys = Keys(model.metadata, name, path)
    if keys.count("expert_count"):
        raise UnsupportedError(
            f"{path} is a mixture of {keys.count('expert_count')} experts, expected a dense {name} model",
            hint="convert it from its Hugging Face checkpoint instead",
        )
    return keys, ARCHITECTURES[name]


def read_dimensions(keys: Keys, tensors: dict[str, StoredTensor]) -> Dimensions:
    """Read the sizes that the metadata states; the vocabulary is as long as the embedding table.

    Raises:
        FormatError: a size is missing, impossible, or there is no embedding table.
        UnsupportedError: keys and values of different widths.
    """
    hidden, heads = keys.size("embedding_length"), keys.size("attention.head_count")
    embedding = tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise FormatError(f"{keys.path} has no tensor 'token_embd.weight' of two dimensions")
    head = _head_length(keys, hidden, heads)
    if keys.size("attention.value_length", head) != head:
        raise UnsupportedError(f"{keys.path} has values of another width than its keys ({head})")
    dimensions = Dimensions(
        layers=keys.size("block_count"),
        hidden=hidden,
        feed_forward=keys.size("feed_forward_length"),
        heads=heads,
        kv_heads=keys.size("attention.head_count_kv", heads),
        head=head,
        vocab=embedding.shape[0],
    )
    if heads % dimensions.kv_heads:
        raise FormatError(
            f"{keys.path} has {heads} attention heads, expected a multiple of {dimensions.kv_heads}"
        )
    return dimensions


def _head_length(keys: Keys, hidden: int, heads: int) -> int:
    # Older converters wrote a llama's head width only as the width that is rotated.
    default = keys.size("rope.dimension_count", hidden // heads or 1)
    return keys.size("attention.key_length", hidden // heads or 1 if keys.architecture == "phi3" else default)


def build_config(keys: Keys, architecture: Architecture, dimensions: Dimensions, model: GGUFModel) -> Config:
    """Build the whole `config.json`.

    Raises:
        FormatError: a required key is missing or holds nonsense.
        UnsupportedError: rope scaling that edgelm does not know.
    """
    config: Config = {
        "architectures": [architecture.class_name],
        "model_type": architecture.model_type,
        "hidden_size": dimensions.hidden,
        "intermediate_size": dimensions.feed_forward,
        "num_hidden_layers": dimensions.layers,
        "num_attention_heads": dimensions.heads,
        "num_key_value_heads": dimensions.kv_heads,
        "head_dim": dimensions.head,
        "vocab_size": dimensions.vocab,
        "rms_norm_eps": keys.positive("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": keys.size("context_length"),
        "rope_theta": rope_base(keys),
        "tie_word_embeddings": "output.weight" not in model.tensors,
        "torch_dtype": "float16",
    }
    scaling = _scaling(keys, dimensions, model.tensors)
    if scaling is not None:
        config["rope_scaling"] = scaling
    VARIANTS[keys.architecture](config, keys, dimensions, model)
    return {**config, **token_ids(keys)}


def _scaling(keys: Keys, dimensions: Dimensions, tensors: dict[str, StoredTensor]) -> Config | None:
    dims = keys.size("rope.dimension_count", dimensions.head)
    if dims != dimensions.head and keys.architecture != "phi3":
        raise UnsupportedError(
            f"{keys.path} rotates {dims} of {dimensions.head} dimensions, expected all of them"
        )

    def read_factors(name: str) -> Factors | None:
        tensor = tensors.get(name)
        if tensor is not None and tensor.shape != (dims // 2,):
            raise FormatError(f"{keys.path}: {name!r} has shape {tensor.shape}, expected {(dims // 2,)}")
        return read_vector(tensor) if tensor is not None else None

    return rope_scaling(keys, dims, read_factors)
