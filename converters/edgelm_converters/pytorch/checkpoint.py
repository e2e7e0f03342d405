"""A Hugging Face directory of `pytorch_model.bin`, or of its shards, with their index or without."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from edgelm.errors import FormatError, NotFoundError, UnsafeError
from edgelm.model.config import read_config, read_json
from edgelm_converters.checkpoint import Checkpoint, LazyTensor, Origin
from edgelm_converters.pytorch.state_dict import describe_names, open_state_dict

INDEX = "pytorch_model.bin.index.json"
SHARD = re.compile(r"pytorch_model-(\d+)-of-(\d+)\.bin")


def open_pytorch(directory: Path) -> Checkpoint:
    """The checkpoint in `directory`; nothing but pickles and JSON is read, and no code is run.

    float64 tensors are read as float32; other types are kept.

    Raises:
        NotFoundError: there are no weights or no config.json.
        UnsafeError: a file asks for code to be run, or the index for a file elsewhere.
        UnsupportedError: a file is of a format of PyTorch's that edgelm does not read.
        FormatError: a shard is missing, a file is broken, or the index does not match the shards.
    """
    config = read_config(directory)
    generation = directory / "generation_config.json"
    files, listed = _find_files(directory)
    return Checkpoint(
        origin=Origin(str(directory), "pytorch", tuple(files)),
        config=config,
        tensors=_merge(files, listed, directory),
        write_tokenizer=partial(copy_tokenizer, directory),
        generation_config=read_json(generation) if generation.exists() else None,
    )


def copy_tokenizer(source: Path, directory: Path) -> None:
    """Put the tokenizer of `source` into `directory`."""
    from edgelm_converters.sources.tokenizer_files import write_tokenizer_files

    write_tokenizer_files(source, directory)


def _find_files(directory: Path) -> tuple[list[Path], dict[str, str]]:
    """The weight files, and which of them the index says each tensor is in."""
    single, index = directory / "pytorch_model.bin", directory / INDEX
    if single.exists():  # first, as in transformers
        return [single], {}
    if index.exists():
        listed = _read_index(index)
        return [directory / name for name in sorted(set(listed.values()))], listed
    shards = sorted(path for path in directory.glob("pytorch_model-*.bin") if SHARD.fullmatch(path.name))
    if not shards:
        raise NotFoundError(f"{directory} holds no pytorch_model.bin, no {INDEX} and no shards")
    _refuse_gaps(shards, directory)
    return shards, {}


def _read_index(path: Path) -> dict[str, str]:
    listed = read_json(path).get("weight_map")
    if (
        not isinstance(listed, dict)
        or not listed
        or not all(isinstance(name, str) for name in listed.values())
    ):
        raise FormatError(f"{path} has no weight_map of file names")
    for name in sorted(set(listed.values())):
        if not name or Path(name).name != name:
            raise UnsafeError(f"{path} names {name!r}, a path outside the model directory")
        if not (path.parent / name).exists():
            raise FormatError(f"{path.parent / name} is missing, and {path.name} names it")
    return listed


def _refuse_gaps(shards: list[Path], directory: Path) -> None:
    numbers = [match.groups() for path in shards if (match := SHARD.fullmatch(path.name))]
    counts = {int(count) for _, count in numbers}
    if len(counts) != 1:
        raise FormatError(
            f"{directory} holds shards of several sets: of {' and of '.join(map(str, sorted(counts)))}"
        )
    (count,) = counts
    present = {int(number) for number, _ in numbers}
    missing = next((number for number in range(1, count + 1) if number not in present), None)
    if missing is not None:
        raise FormatError(f"{directory} holds {len(shards)} shards of {count}: number {missing} is missing")


def _merge(files: list[Path], listed: dict[str, str], directory: Path) -> dict[str, LazyTensor]:
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
