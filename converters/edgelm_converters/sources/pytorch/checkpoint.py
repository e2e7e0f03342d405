"""A Hugging Face directory of `pytorch_model.bin`, or of its shards, with their index or without."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from edgelm.errors import FormatError, NotFoundError
from edgelm.json_files import read_json
from edgelm.zoo.configs.normalise import read_config
from edgelm.zoo.weights.choice import NAMING
from edgelm.zoo.weights.files import choose_files
from edgelm.zoo.weights.packing import with_packing
from edgelm_converters.sources.checkpoint import LazyTensor, SourceCheckpoint, SourceOrigin
from edgelm_converters.sources.packings.registry import unpacked_checkpoint
from edgelm_converters.sources.pytorch.state_dict import describe_names, open_state_dict

INDEX = NAMING["pytorch"].index


def open_pytorch(directory: Path) -> SourceCheckpoint:
    """Open the checkpoint in `directory`; nothing but pickles and JSON is read, and no code is run.

    float64 tensors are read as float32; other types are kept.

    Raises:
        NotFoundError: there are no weights or no config.json.
        UnsafeError: a file asks for code to be run, or the index for a file elsewhere.
        UnsupportedError: a file is of a format of PyTorch's that edgelm does not read.
        FormatError: a shard is missing, a file is broken, or the index does not match the shards.
    """
    config = read_config(directory)
    generation = directory / "generation_config.json"
    choice = choose_files(directory, "pytorch")
    if choice is None:
        raise NotFoundError(f"{directory} holds no pytorch_model.bin, no {INDEX} and no shards")
    files = [directory / name for name in choice.files]
    tensors = _merge(files, choice.places, directory)
    checkpoint = SourceCheckpoint(
        origin=SourceOrigin(str(directory), "pytorch", tuple(files)),
        config=with_packing(config, directory),
        tensors=tensors,
        write_tokenizer=partial(copy_tokenizer, directory),
        generation_config=read_json(generation) if generation.exists() else None,
    )
    return unpacked_checkpoint(checkpoint, directory)


def copy_tokenizer(source: Path, directory: Path) -> None:
    """Put the tokenizer of `source` into `directory`."""
    from edgelm_converters.sources.huggingface.tokenizer_files import write_tokenizer_files

    write_tokenizer_files(source, directory)


def _merge(files: list[Path], listed: Mapping[str, str], directory: Path) -> dict[str, LazyTensor]:
    """The tensors of all files; those that the index puts elsewhere are skipped, unlisted ones kept."""
    tensors: dict[str, LazyTensor] = {}
    for path in files:
        for name, tensor in open_state_dict(path).items():
            if listed.get(name, path.name) != path.name:
                continue
            if name in tensors:
                raise FormatError(f"tensor {name!r} is in {path} and in another shard")
            tensors[name] = tensor
    absent = listed.keys() - tensors.keys()
    if absent:
        raise FormatError(f"{directory / INDEX} lists tensors that its shards lack: {describe_names(absent)}")
    return tensors
