"""The library: one directory per installed model, under `edgelm.paths.models()`.

Each is a standard MLX-LM directory, most with an `edgelm.json`. What begins with a dot is work under way and
no model. Models get here by `pull`, as they are published, or from the converters, a layer above.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from edgelm import paths
from edgelm.atomic import atomic_directory, disk_errors, refuse_existing
from edgelm.errors import FormatError, NotFoundError, UnsafeError
from edgelm.hub import fetch as hub
from edgelm.library import packages
from edgelm.library.install import fill
from edgelm.library.licence import licence_of
from edgelm.library.manifest import Manifest
from edgelm.library.names import directories, is_path, named_in, near_name, place
from edgelm.progress import OnProgress, ignore_progress
from edgelm.zoo.configs.normalise import Config, context_length, read_config
from edgelm.zoo.weights.bits import measure_bits_per_weight
from edgelm.zoo.weights.choice import NAMING
from edgelm.zoo.weights.files import weight_files

_TRASH = ".removed-"


@dataclass(frozen=True)
class Installed:
    """One model of the library."""

    name: str
    directory: Path
    size_bytes: int
    """The size of all its files."""
    model_type: str | None
    """The architecture, as config.json names it."""
    bits_per_weight: float | None
    context_length: int | None = None
    """Tokens that the model was trained for."""
    source: str | None = None
    licence: str | None = None
    created: str | None = None
    """ISO 8601."""
    problem: str | None = None
    """Why it cannot be used, if it cannot."""


def installed() -> list[Installed]:
    """List every model of the library, by name; a broken one is there with its problem."""
    return [describe(directory) for directory in directories(paths.models())]


def describe(directory: Path) -> Installed:
    """Describe what a model directory holds, in the library or not."""
    config: Config = {}
    manifest, bits, problem = None, None, None
    try:
        config = read_config(directory)
        manifest = Manifest.read(directory)
        bits = manifest.bits_per_weight if manifest else None
        bits = measure_bits_per_weight(directory, config) if bits is None else bits
    except (FormatError, NotFoundError, UnsafeError) as error:
        problem = error.message
    return Installed(
        name=directory.name,
        directory=directory,
        size_bytes=sum(path.stat().st_size for path in files_of(directory)),
        model_type=config.get("model_type"),
        bits_per_weight=bits,
        context_length=context_length(config),
        source=manifest.source if manifest else None,
        licence=licence_of(directory),
        created=manifest.created if manifest else None,
        problem=problem,
    )


def files_of(directory: Path) -> list[Path]:
    """List the files of a model directory, by name: none that are hidden, and no weights that are not the model's."""
    files = paths.visible_files(directory)
    try:
        chosen = {path.name for path in weight_files(directory)}
    except (FormatError, NotFoundError, UnsafeError):
        return files  # its problem is told elsewhere
    strays = NAMING["safetensors"].pattern
    return [
        path
        for path in files
        if path.parent != directory or path.name in chosen or not strays.fullmatch(path.name)
    ]


def resolve(text: str) -> Path:
    """Find the model directory that `text` means: a path, a name from the library, or a pulled model's Hub id.

    A name of the library wins over a folder of that name in the working directory, unless that is a model.

    Raises:
        NotFoundError: neither; with the nearest name, or how to get the model.
    """
    path = Path(text).expanduser()
    if text and path.is_dir() and (os.sep in text or (path / "config.json").is_file()):
        return path
    named = named_in(paths.models(), text) or _pulled(text)
    if named is not None:
        return named
    if text and path.is_dir():
        return path
    if path.is_file():
        raise NotFoundError(
            f"{text} is a file, expected a model directory", hint=f"edgelm convert {shlex.quote(text)}"
        )
    raise NotFoundError(f"no model {text!r} in the library or on the disk", hint=_hint(text))


def obtain(text: str, on_progress: OnProgress = ignore_progress) -> Path:
    """Find the directory of a model that is to be used: as `resolve`, and a Hub id that is not here yet is pulled first.

    Raises:
        NotFoundError, NetworkError, UnsupportedError, UnsafeError, FormatError: see `resolve` and `pull`.
    """
    try:
        return resolve(text)
    except NotFoundError:
        if is_path(text) or Path(text).expanduser().exists() or not hub.looks_like_hub_id(text):
            raise
    return pull(text, on_progress=on_progress).directory


def _pulled(repo: str) -> Path | None:
    """The model that was pulled from `repo`; a converted one has parents, and is another model."""
    for model in installed() if hub.looks_like_hub_id(repo) else ():
        if model.source == repo and model.problem is None:
            manifest = Manifest.read(model.directory)
            if manifest and manifest.kind == "huggingface" and not manifest.parents:
                return model.directory
    return None


def _hint(text: str) -> str:
    if is_path(text):
        beside = [
            path for path in directories(Path(text).expanduser().absolute().parent) if _holds_model(path)
        ]
        near = near_name(Path(text).name, (path.name for path in beside))
        there = text.rstrip(os.sep).removesuffix(Path(text).name) + (
            near or ""
        )  # as it was typed, ./ included
        return f"did you mean {shlex.quote(there)}?" if near else "edgelm models lists what is installed"
    names = [path.name for path in directories(paths.models())]
    if near := near_name(text, names):
        return f"did you mean {shlex.quote(near)}?"
    if packages.find_package(text) is not None:
        return f"edgelm convert {shlex.quote(text)} makes a model of that package"
    if hub.looks_like_hub_id(text):
        return f"edgelm models pull {text}, or edgelm convert {text}"
    return "edgelm models lists what there is" if names else "the library is empty: edgelm convert smollm2"


def _holds_model(directory: Path) -> bool:
    return (directory / "config.json").is_file()


def default_name(source: str) -> str:
    """Make a library name of a Hub id: its last part in lower case, of letters, digits and `._+-` only."""
    last = source.rstrip("/").rpartition("/")[2].partition(":")[0]
    return re.sub(r"[^a-z0-9._+-]+", "-", last.lower()).strip("-._+") or "model"


def _free_name(repo: str) -> str:
    """`default_name`, unless a model from elsewhere has it: then one that says whose it is."""
    name = default_name(repo)
    taken = describe(paths.models() / name).source if (paths.models() / name).is_dir() else repo
    return name if taken == repo else default_name(repo.replace("/", "-"))


def pull(
    repo_id: str,
    *,
    revision: str | None = None,
    name: str | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Installed:
    """Download a safetensors model of the Hub into the library under `name`.

    Without one it is called by the last part of its id, or by all of it where another model has that name.

    Raises:
        OptionError: a name that is none.
        OutputError: the library has the name already, or the disk is full.
        NotFoundError, NetworkError, UnsupportedError, UnsafeError, FormatError: see `hub.fetch`.
    """
    repo = hub.parse_hub_id(repo_id).repo
    chosen = name if name is not None else _free_name(repo)
    target = place(paths.models(), name=chosen)
    refuse_existing(target, hint=f"edgelm models remove {chosen}, or give another --name")
    found = hub.fetch(repo_id, revision=revision, accept={"safetensors"}, on_progress=on_progress)
    with atomic_directory(target) as directory:
        fill(directory, found, repo)
    return describe(target)


def find(name: str) -> Installed:
    """Find the model of exactly that name in the library; a path is never one.

    Raises:
        NotFoundError: there is none.
    """
    library = paths.models()
    names = {path.name for path in library.iterdir()} if library.is_dir() else set()
    if name in names and not name.startswith("."):
        return describe(library / name)
    if os.sep in name:
        raise NotFoundError(
            f"{name!r} is a path, expected a name from the library", hint=_hint(Path(name).name)
        )
    raise NotFoundError(f"no model {name!r} in the library", hint=_hint(name))


def remove(name: str) -> int:
    """Delete a model from the library and return the bytes that this freed.

    Files that the Hugging Face cache shares (see `edgelm.library.install`) stay there and free nothing. A link
    is removed, never followed. The model leaves the library at once, before its files are deleted.

    Raises:
        NotFoundError: see `find`.
        OutputError: the disk refuses.
    """
    return remove_directory(find(name).directory)


def remove_directory(directory: Path) -> int:
    """Remove a model or an adapter by its directory.

    Raises:
        OutputError: the disk refuses.
    """
    with disk_errors(directory):
        if directory.is_symlink() or directory.is_file():
            directory.unlink()
            return 0
        freed = sum(_freed_by(path) for path in directory.rglob("*"))
        directory.rename(directory.with_name(f"{_TRASH}{directory.name}-{os.getpid()}"))
        for trash in directory.parent.glob(f"{_TRASH}*"):  # a killed removal's too
            shutil.rmtree(trash, ignore_errors=True)
    return freed


def _freed_by(path: Path) -> int:
    found = path.lstat()
    return found.st_size if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else 0
