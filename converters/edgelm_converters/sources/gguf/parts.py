"""One GGUF file, or all the files of a split one ("-00001-of-00003.gguf"), as one header; which files of a folder are models.

The first part of a split file holds the metadata; the others hold tensors. Reads headers only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import EdgeLMError, FormatError, NotFoundError
from edgelm_converters.sources.gguf.reader import GGUFHeader, StoredTensor, read_gguf

PART_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
MAX_PARTS = 1000
COMPANIONS = {
    "mmproj": "for images or sound",
    "adapter": "an adapter",
    "imatrix": "importances",
    "vocab": "a vocabulary",
}
"""`general.type` of files that are no models."""


@dataclass(frozen=True, slots=True)
class GGUFModel:
    """The metadata, the tensors of all parts, and the files."""

    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]
    files: tuple[Path, ...]


def read_parts(path: Path) -> GGUFModel:
    """Read the headers of the model of which `path` is the only file, or any part.

    Raises:
        NotFoundError: the file, or another part of it, is missing.
        FormatError: a part is not a valid GGUF file, or not a part of this model.
        UnsupportedError: another version or byte order.
    """
    header = read_gguf(path)
    count = header.metadata.get("split.count", 0)
    if not isinstance(count, int) or not 0 <= count <= MAX_PARTS:
        raise FormatError(f"{path} has split.count {count!r}, expected a number up to {MAX_PARTS}")
    if count <= 1:
        return GGUFModel(header.metadata, header.tensors, (path,))
    headers = [header if part == path else _read_part(part) for part in _part_paths(path, count)]
    return _merge(headers)


def first_parts(names: Iterable[str]) -> list[str]:
    """Pick one name for each model among GGUF file names: of a split one the part with the lowest number."""
    models: dict[tuple[str, str], str] = {}
    for name in sorted(names):
        match = PART_NAME.fullmatch(name)
        models.setdefault((match["stem"], match["count"]) if match else (name, ""), name)
    return sorted(models.values())


def split_folder(paths: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Return the models among the GGUF files of one folder, the first part of each, and notes on the files beside them.

    A file that cannot be read counts as a model, unless it is called a projector: what is wrong is said when it is opened.
    """
    paths = list(paths)
    first = set(first_parts(path.name for path in paths))
    models, notes = [], []
    for path in sorted(path for path in paths if path.name in first):
        companion = _companion(path)
        if companion is None:
            models.append(path)
        else:
            notes.append(f"left out {path.name}, which is {companion}")
    return models, notes


def _part_paths(path: Path, count: int) -> list[Path]:
    match = PART_NAME.fullmatch(path.name)
    if match is None or int(match["count"]) != count:
        raise FormatError(
            f"{path.name} is one of {count} parts, expected a name that ends in -00001-of-{count:05}.gguf",
            hint="keep the names that the parts were published under",
        )
    return [
        path.with_name(f"{match['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)
    ]


def _read_part(path: Path) -> GGUFHeader:
    if not path.exists():
        raise NotFoundError(f"{path} does not exist, and the model has a part there", hint="fetch every part")
    return read_gguf(path)


def _merge(headers: list[GGUFHeader]) -> GGUFModel:
    tensors: dict[str, StoredTensor] = {}
    for number, header in enumerate(headers):
        said = header.metadata.get("split.no")
        if said != number or header.metadata.get("split.count") != len(headers):
            raise FormatError(f"{header.path} says it is part {said!r}, expected {number} of {len(headers)}")
        for name, tensor in header.tensors.items():
            if name in tensors:
                raise FormatError(f"{header.path} has the tensor {name!r}, which an earlier part has too")
            tensors[name] = tensor
    return GGUFModel(headers[0].metadata, tensors, tuple(header.path for header in headers))


def _companion(path: Path) -> str | None:
    """What a file is that belongs to a model; None for a model."""
    try:
        metadata = read_gguf(path).metadata
    except EdgeLMError:
        return COMPANIONS["mmproj"] if path.name.lower().startswith("mmproj") else None
    kind, architecture = metadata.get("general.type"), metadata.get("general.architecture")
    if architecture == "clip":
        kind = "mmproj"
    return COMPANIONS.get(kind) if isinstance(kind, str) else None
