"""A GGUF file as a checkpoint: `open_gguf`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError
from edgelm_converters.sources.checkpoint import SourceCheckpoint, SourceOrigin
from edgelm_converters.sources.gguf.config import build_config, read_dimensions, read_keys
from edgelm_converters.sources.gguf.generation import generation_config
from edgelm_converters.sources.gguf.metadata import Keys
from edgelm_converters.sources.gguf.names import BLOCK_NAME, IGNORED, Architecture, Dimensions, target_of
from edgelm_converters.sources.gguf.parts import GGUFModel, read_parts
from edgelm_converters.sources.gguf.tensors import TensorSource


def open_gguf(path: Path) -> SourceCheckpoint:
    """Open the model in the GGUF file at `path` (or in all parts of a split one); reads headers only.

    Raises:
        NotFoundError: the file or another part of it is missing.
        FormatError: not a GGUF file, truncated, or it contradicts itself; the tensor or key is named.
        UnsupportedError: an architecture, tensor type, version or rope scaling that edgelm cannot convert.
    """
    model = read_parts(path)
    keys, architecture = read_keys(model)
    dimensions = read_dimensions(keys, model.tensors)
    _check_layers(keys, dimensions, model)
    source = _present(model, keys, architecture, dimensions)
    return SourceCheckpoint(
        origin=SourceOrigin(str(path), "gguf", model.files, licence=keys.text("general.license")),
        config=build_config(keys, architecture, dimensions, model),
        tensors=source.tensors,
        write_tokenizer=functools.partial(_write_tokenizer, model.metadata, path),
        quantization=source.quantization,
        requantized=source.requantized,
        generation_config=generation_config(keys),
    )


def _check_layers(keys: Keys, dimensions: Dimensions, model: GGUFModel) -> None:
    """A count of layers that lies would have a network of any size built before a tensor is missed."""
    matches = (BLOCK_NAME.fullmatch(name) for name in model.tensors)
    found = len({int(match["layer"]) for match in matches if match})
    if found != dimensions.layers:
        raise FormatError(
            f"{keys.path} has tensors of {found} layers, expected {dimensions.layers} "
            f"({keys.architecture}.block_count)"
        )


def _present(
    model: GGUFModel, keys: Keys, architecture: Architecture, dimensions: Dimensions
) -> TensorSource:
    source = TensorSource()
    for name, stored in model.tensors.items():
        if IGNORED.fullmatch(name):
            continue
        target = target_of(name, architecture, dimensions)
        if target is None:
            raise FormatError(
                f"{stored.path} has a tensor {name!r}, which a {keys.architecture} model has not"
            )
        if stored.shape != target.shape:
            raise FormatError(
                f"{stored.path}: tensor {name!r} has shape {stored.shape}, expected {target.shape}"
            )
        if target.heads and dimensions.head % 2:
            raise FormatError(
                f"{stored.path} has heads of {dimensions.head} dimensions, expected an even number"
            )
        source.add(stored, target)
    return source


def _write_tokenizer(metadata: Mapping[str, Any], path: Path, directory: Path) -> None:
    from edgelm_converters.tokenizers.formats.gguf import write_gguf_tokenizer

    write_gguf_tokenizer(metadata, directory, origin=path)
