"""A GGUF file as a checkpoint: `open_gguf`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError
from edgelm_converters.sources.checkpoint import SourceCheckpoint, SourceOrigin
from edgelm_converters.sources.gguf.config import build_config, read_keys
from edgelm_converters.sources.gguf.families.family import Reading
from edgelm_converters.sources.gguf.families.ollama import as_llama_cpp
from edgelm_converters.sources.gguf.generation import generation_config
from edgelm_converters.sources.gguf.metadata import Keys
from edgelm_converters.sources.gguf.names import BLOCK_NAME, targets
from edgelm_converters.sources.gguf.parts import GGUFModel, read_parts
from edgelm_converters.sources.gguf.tensors import TensorSource


def open_gguf(path: Path) -> SourceCheckpoint:
    """Open the model in the GGUF file at `path` (or in all parts of a split one); reads headers only.

    Raises:
        NotFoundError: the file or another part of it is missing.
        FormatError: not a GGUF file, truncated, or it contradicts itself; the tensor or key is named.
        UnsupportedError: an architecture, tensor type, version, key or rope scaling that edgelm cannot convert.
    """
    model, notes = as_llama_cpp(read_parts(path))
    keys, family = read_keys(model)
    _check_layers(keys, model)
    lengths = family.lengths(keys, model.tensors)
    source = TensorSource()
    for target in targets(family, lengths, model.tensors):
        source.add(target)
    if family.own_head and "output.weight" not in model.tensors:
        source.repeat("model.embed_tokens", "lm_head")
    reading = Reading(keys, lengths, model.tensors)
    if family.scalars:
        source.add_scalars(family.scalars(reading))
    config = build_config(family, reading)
    return SourceCheckpoint(
        origin=SourceOrigin(str(path), "gguf", model.files, licence=keys.text("general.license")),
        config=config,
        tensors=source.tensors,
        write_tokenizer=functools.partial(_write_tokenizer, model.metadata, path),
        quantization=source.quantization,
        requantized=source.requantized,
        generation_config=generation_config(keys),
        notes=(*notes, *_base_notes(keys, config)),
    )


def _base_notes(keys: Keys, config: Mapping[str, Any]) -> list[str]:
    """A base of the rotation that the file does not say is never taken in silence."""
    nested = [config, *(part for part in config.values() if isinstance(part, dict))]
    nested += [part for each in nested[1:] for part in each.values() if isinstance(part, dict)]
    bases = [part["rope_theta"] for part in nested if "rope_theta" in part]
    if not bases or keys.has("rope.freq_base"):
        return []
    return [f"the file says no rope.freq_base; {bases[0]:g} is taken, the usual one of {keys.architecture}"]


def _check_layers(keys: Keys, model: GGUFModel) -> None:
    """A count of layers that lies would have a network of any size built before a tensor is missed."""
    matches = (BLOCK_NAME.fullmatch(name) for name in model.tensors)
    found = len({int(match["layer"]) for match in matches if match})
    said = keys.size("block_count")
    # Layers that predict further tokens are counted, and may have been left out.
    if not said - keys.count("nextn_predict_layers") <= found <= said:
        raise FormatError(
            f"{keys.path} has tensors of {found} layers, expected {said} ({keys.architecture}.block_count)"
        )


def _write_tokenizer(metadata: Mapping[str, Any], path: Path, directory: Path) -> None:
    from edgelm_converters.tokenizers.formats.gguf import write_gguf_tokenizer

    write_gguf_tokenizer(metadata, directory, origin=path)
