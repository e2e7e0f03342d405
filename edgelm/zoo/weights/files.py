"""The weight files of a model directory and the tensors in them, from headers: the one answer for every reader.

Converting, loading, pricing, hashing and listing all ask here, so that they speak of the same weights.
Hidden files are never weights (`._model.safetensors` is what macOS leaves on foreign disks).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.errors import FormatError, NotFoundError, UnsupportedError
from edgelm.json_files import read_json
from edgelm.zoo.weights.choice import NAMING, Choice, SplitKind, choose, kind_of
from edgelm.zoo.weights.safetensors_header import TensorInfo, read_header

if TYPE_CHECKING:
    import mlx.core as mx

_EXPLICIT = "transformers_weights"
"""The key of config.json by which a model names its file or index itself (transformers 5.24)."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where one tensor lies."""

    path: Path
    info: TensorInfo


def names_in(directory: Path) -> set[str]:
    """List the names of the files in `directory` that are not hidden.

    Broken links and folders count only where nothing else is the model, so that they are named.
    """
    entries = [path for path in directory.iterdir() if not path.name.startswith(".")]
    files = {path.name for path in entries if path.is_file()}
    return files if kind_of(files) is not None else {path.name for path in entries}


def weights_kind(directory: Path) -> SplitKind | None:
    """Return what transformers would load there: "safetensors", "pytorch", or None."""
    if _explicit(directory) is not None:
        return "safetensors"
    return kind_of(names_in(directory))


def choose_files(directory: Path, kind: SplitKind) -> Choice | None:
    """Choose the files of a model of one kind in `directory`.

    Raises:
        FormatError, UnsafeError: see `choose`.
    """
    names = names_in(directory)
    explicit = _explicit(directory) if kind == "safetensors" else None
    return choose(kind, names, lambda name: read_json(directory / name), str(directory), explicit=explicit)


def _explicit(directory: Path) -> str | None:
    path = directory / "config.json"
    return named_weights(read_json(path), path) if path.is_file() else None


def named_weights(config: Mapping[str, Any], where: object) -> str | None:
    """Return the file or index that a config names as the model's weights; None if it leaves that to the names of the files.

    Raises:
        FormatError: what it says is no name of a file beside it.
    """
    said = config.get(_EXPLICIT)
    if said is not None and (not isinstance(said, str) or not said or Path(said).name != said):
        raise FormatError(f"{where} has {_EXPLICIT} {said!r}, expected the name of a file beside it")
    return said


def weight_files(directory: Path) -> list[Path]:
    """List the safetensors files of a model directory, in order; their headers are not looked at.

    Raises:
        NotFoundError: there are none, or transformers would load other weights that lie there.
        FormatError: the index is broken or names files that are missing; shards are not one whole set.
        UnsafeError: the index names a file in another directory.
    """
    choice = _choice(directory)
    return [directory / name for name in choice.files]


def _choice(directory: Path) -> Choice:
    if not directory.is_dir():
        raise NotFoundError(f"{directory} is not a directory")
    if weights_kind(directory) == "pytorch":
        raise NotFoundError(
            f"{directory} holds the weights of PyTorch ({_pytorch_name(directory)}), expected safetensors",
            hint=f"edgelm convert {shlex.quote(str(directory))}",
        )
    choice = choose_files(directory, "safetensors")
    if choice is None:
        raise NotFoundError(
            f"{directory} holds no model*.safetensors",
            hint="edgelm convert reads PyTorch, Meta and GGUF weights",
        )
    return choice


def _pytorch_name(directory: Path) -> str:
    naming = NAMING["pytorch"]
    return next(
        name for name in sorted(names_in(directory)) if name == naming.index or naming.pattern.fullmatch(name)
    )


def stored_tensors(directory: Path) -> dict[str, Stored]:
    """Read the tensors of the safetensors model in `directory`, by name; headers are checked, no data is read.

    A tensor that several of the files hold is the one in the file that the index names.

    Raises:
        NotFoundError, UnsafeError: see `weight_files`.
        FormatError: the same, a broken header, or a tensor that several files hold and no index places.
    """
    choice = _choice(directory)
    found: dict[str, Stored] = {}
    for file in choice.files:
        path = directory / file
        for name, info in read_header(path).items():
            if name not in found or choice.places.get(name) == file:
                found[name] = Stored(path, info)
            elif choice.places.get(name) != found[name].path.name:
                raise FormatError(
                    f"tensor {name!r} is in {path} and in {found[name].path}, and no index says which"
                )
    return found


def read_headers(directory: Path) -> dict[str, TensorInfo]:
    """Read the headers of the tensors of a model directory, by name.

    Raises:
        NotFoundError, FormatError, UnsafeError: see `stored_tensors`.
    """
    return {name: stored.info for name, stored in stored_tensors(directory).items()}


def load_arrays(directory: Path) -> dict[str, mx.array]:
    """Load the tensors of a model directory as arrays that have not been read yet.

    Raises:
        NotFoundError, FormatError, UnsafeError: see `stored_tensors`.
        UnsupportedError: a tensor is float64, which MLX does not load.
    """
    import mlx.core as mx

    by_file: dict[Path, list[str]] = {}
    for name, stored in stored_tensors(directory).items():
        if stored.info.dtype == "F64":
            raise UnsupportedError(
                f"tensor {name!r} in {stored.path} is float64, which MLX does not load",
                hint=f"edgelm convert {shlex.quote(str(directory))} makes a model of it",
            )
        by_file.setdefault(stored.path, []).append(name)
    arrays: dict[str, mx.array] = {}
    for path, names in by_file.items():
        loaded: Any = mx.load(str(path), format="safetensors")
        arrays.update({name: loaded[name] for name in names})
    return arrays
