"""A downloaded model into a directory of its own, as it is: never converted, which is a layer above.

Weights become hard links to the Hugging Face cache where the file system allows it, so that they take no room
twice. Knows nothing of the library.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

from edgelm.atomic import disk_errors
from edgelm.hub import fetch as hub
from edgelm.library.manifest import Manifest
from edgelm.zoo.configs.normalise import normalise_config, read_config
from edgelm.zoo.weights.bits import measure_bits_per_weight
from edgelm.zoo.weights.files import weight_files

_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP)


def fill(directory: Path, found: hub.Download, repo: str) -> None:
    """Make `directory` a model directory of the files of `found`, with a manifest that names `repo`.

    `config.json` gains the flat RoPE keys that mlx-lm reads: stock mlx-lm is right about the result too.

    Raises:
        FormatError: a broken configuration or header.
        OutputError: the disk refuses.
    """
    with disk_errors(directory):
        for file in found.files:
            place(file.resolve(), directory / file.name)
    _flatten_config(directory)
    manifest = _manifest(repo, found, directory)
    with disk_errors(directory):
        manifest.write(directory)


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
    weights = weight_files(directory)
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
