"""A safetensors model of the Hub into the library, as it is: never converted, which is a layer above."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from edgelm import paths
from edgelm.atomic import atomic_directory, disk_errors, refuse_existing
from edgelm.errors import OptionError
from edgelm.model import hub
from edgelm.model.bits import measure_bits_per_weight
from edgelm.model.config import normalise_config, read_config
from edgelm.model.library import Installed, describe
from edgelm.model.manifest import Manifest
from edgelm.progress import OnProgress, ignore_progress

_NAME = re.compile(r"\w[\w.+-]*", re.ASCII)
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP)


def default_name(source: str) -> str:
    """A library name from a Hub id: its last part in lower case, of letters, digits and `._+-` only."""
    last = source.rstrip("/").rpartition("/")[2].partition(":")[0]
    return re.sub(r"[^a-z0-9._+-]+", "-", last.lower()).strip("-._+") or "model"


def pull(
    repo_id: str,
    *,
    revision: str | None = None,
    name: str | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Installed:
    """Put a model into the library under `name` (by default, `default_name` of its id).

    Weights are hard links to the Hugging Face cache where the file system allows it, so that they take no
    room twice. `config.json` gains the flat RoPE keys that mlx-lm reads: stock mlx-lm is right about it too.

    Raises:
        OptionError: a name that is none.
        OutputError: the library has the name already, or the disk is full.
        NotFoundError, NetworkError, UnsupportedError, UnsafeError, FormatError: see `hub.fetch`.
    """
    repo = hub.parse_hub_id(repo_id).repo
    chosen = name if name is not None else default_name(repo)
    if not _NAME.fullmatch(chosen):
        raise OptionError(f"name is {chosen!r}, expected letters, digits and ._+-")
    target = paths.models() / chosen
    refuse_existing(target)
    found = hub.fetch(repo_id, revision=revision, accept={"safetensors"}, on_progress=on_progress)
    with atomic_directory(target) as directory:
        with disk_errors(target):
            for file in found.files:
                place(file.resolve(), directory / file.name)
        _flatten_config(directory)
        manifest = _manifest(repo, found, directory)
        with disk_errors(target):
            manifest.write(directory)
    return describe(target)


def place(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy of it on another file system."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.copyfile(source, target)


def _flatten_config(directory: Path) -> None:
    config = read_config(directory)
    flat = normalise_config(config)
    if flat != config:
        path = directory / "config.json"
        with disk_errors(path):
            path.unlink()  # it is the cache's file: writing into it would change the cache
            path.write_text(json.dumps(flat, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _manifest(repo: str, found: hub.Download, directory: Path) -> Manifest:
    weights = sorted(directory.glob("*.safetensors"))
    hashes = {path.name: found.sha256.get(path.name) or _sha256(path) for path in weights}
    return Manifest(
        source=repo,
        kind="huggingface",
        revision=found.revision,
        source_sha256=hashes,
        weights_sha256=hashes,
        licence=found.licence,
        bits_per_weight=measure_bits_per_weight(directory, read_config(directory)),
        size_bytes=sum(path.stat().st_size for path in weights),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
