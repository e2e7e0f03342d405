"""SOURCE → checkpoint: recognised by what the files hold, never by what they are called.

Order: an existing path (a GGUF by its magic; a directory by the weights in it), an installed model
package, a Hub id.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path

from edgelm.errors import FormatError, NotFoundError, OptionError
from edgelm.hub import fetch as hub
from edgelm.library import models as library
from edgelm.library import packages
from edgelm.library.licence import licence_of
from edgelm.progress import OnProgress
from edgelm.zoo.weights.files import names_in, weights_kind
from edgelm_converters.sources.checkpoint import SourceCheckpoint
from edgelm_converters.sources.huggingface.checkpoint import open_huggingface

GGUF_MAGIC = b"GGUF"


def open_checkpoint(source: str, *, revision: str | None, on_progress: OnProgress) -> SourceCheckpoint:
    """Open the checkpoint that `source` names; from the Hub, its files are downloaded first.

    Raises:
        NotFoundError: no such path, package or Hub id.
        OptionError: a revision of what has none.
        FormatError, UnsafeError, UnsupportedError: the files are not what edgelm can convert.
        NetworkError: the Hub cannot be reached.
    """
    path = Path(source).expanduser()
    if path.exists():
        _refuse_revision(revision, f"{source} is a path")
        return open_path(path, source=_absolute(path))
    package = packages.find_package(source)
    if package is not None:
        _refuse_revision(revision, f"{source} is an installed package")
        return open_path(package, source=source, licence=packages.licence_of_package(package))
    if hub.looks_like_hub_id(source):
        return _open_hub(source, revision, on_progress)
    try:
        directory = library.resolve(source)
        _refuse_revision(revision, f"{source} is a model of the library")
        return open_path(directory, source=_absolute(directory))
    except NotFoundError as error:
        what = (
            "does not exist" if path.is_absolute() else "is no path, no installed model package and no Hub id"
        )
        raise NotFoundError(f"{source} {what}", hint=error.hint) from error


def _refuse_revision(revision: str | None, what: str) -> None:
    """A revision of what has none would be ignored."""
    if revision is not None:
        raise OptionError(
            f"revision is {revision!r}, and {what}, expected a Hub id with it", settings=("revision",)
        )


def _absolute(path: Path) -> str:
    """The path as manifests keep it: it must still be right in another working directory."""
    return os.path.normpath(path.absolute())


def _open_hub(repo_id: str, revision: str | None, on_progress: OnProgress) -> SourceCheckpoint:
    from edgelm_converters.sources.gguf.families.registry import ARCHITECTURES

    fetched = hub.fetch(repo_id, revision=revision, gguf_architectures=ARCHITECTURES, on_progress=on_progress)
    path = fetched.gguf or fetched.directory
    return open_path(path, source=repo_id, revision=fetched.revision, licence=fetched.licence)


def open_path(
    path: Path, *, source: str | None = None, revision: str | None = None, licence: str | None = None
) -> SourceCheckpoint:
    """Open the checkpoint in a file or a directory."""
    checkpoint = _open_directory(path) if path.is_dir() else _open_file(path)
    origin = checkpoint.origin
    origin = dataclasses.replace(
        origin,
        source=source or origin.source,
        revision=revision or origin.revision,
        licence=licence or origin.licence or licence_of(path if path.is_dir() else path.parent),
    )
    return dataclasses.replace(checkpoint, origin=origin)


def _open_file(path: Path) -> SourceCheckpoint:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == GGUF_MAGIC:
        from edgelm_converters.sources.gguf.checkpoint import open_gguf

        return open_gguf(path)
    raise FormatError(
        f"{path} begins with {magic!r}, expected a GGUF file",
        hint="for safetensors or PyTorch weights, name the directory that holds them and config.json",
    )


def _open_directory(directory: Path) -> SourceCheckpoint:
    kind = weights_kind(directory)
    if kind == "safetensors":
        return open_huggingface(directory)
    if kind == "pytorch":
        from edgelm_converters.sources.pytorch.checkpoint import open_pytorch

        return open_pytorch(directory)
    if (directory / "params.json").exists() or any(directory.glob("consolidated.*.pth")):
        from edgelm_converters.sources.meta.checkpoint import open_meta

        return open_meta(directory)
    models, notes = _gguf_models(directory)
    if len(models) == 1:
        checkpoint = _open_file(models[0])
        return dataclasses.replace(checkpoint, notes=(*checkpoint.notes, *notes))
    if models:
        raise FormatError(
            f"{directory} holds {len(models)} GGUF files: {', '.join(path.name for path in models)}",
            hint=f"name one of them, as {shlex.quote(str(models[0]))}",
        )
    raise NotFoundError(
        f"{directory} holds no weights",
        hint="expected model*.safetensors, pytorch_model*.bin, consolidated.*.pth or one *.gguf",
    )


def _gguf_models(directory: Path) -> tuple[list[Path], list[str]]:
    """The GGUF models in a directory, one path for each, and notes on what lies beside them."""
    names = [
        name
        for name in names_in(directory)
        if name.lower().endswith(".gguf") and (directory / name).is_file()
    ]
    if not names:
        return [], []
    from edgelm_converters.sources.gguf.parts import split_folder

    return split_folder(directory / name for name in names)
