"""One hash that says which weights a model directory holds, so that what was built on them can be bound to them.

The identity is the SHA-256 of the names and SHA-256 of all weight files. Those are taken from the manifest where it lists
them, else computed once and remembered by path, size and modification time.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from edgelm import paths
from edgelm.atomic import atomic_write
from edgelm.errors import OutputError
from edgelm.library.manifest import Manifest
from edgelm.zoo.weights.files import weight_files

_CHUNK_BYTES = 1 << 22


def weights_identity(directory: Path) -> str:
    """Return one SHA-256, in hexadecimal, over the weights in a directory.

    Raises:
        NotFoundError, FormatError, UnsafeError: the manifest or the index of the weights is broken, or there are none.
        OSError: a file cannot be read.
    """
    adapter = directory / "adapters.safetensors"
    files = [adapter] if adapter.is_file() else weight_files(directory)
    manifest = Manifest.read(directory)
    listed = manifest.weights_sha256 if manifest else {}
    if set(listed) != {path.name for path in files}:
        listed = {path.name: _remembered_sha256(path) for path in files}
    return identity_of(listed)


def identity_of(sha256_by_name: dict[str, str]) -> str:
    """Return the identity of files with these hashes."""
    lines = "".join(f"{sha256_by_name[name]}  {name}\n" for name in sorted(sha256_by_name))
    return hashlib.sha256(lines.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of the content of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _remembered_sha256(path: Path) -> str:
    found = path.stat()
    key = f"{path.resolve()}|{found.st_size}|{found.st_mtime_ns}"
    memory = paths.caches() / "sha256.json"
    known = _read(memory)
    if key not in known:
        known[key] = file_sha256(path)
        with suppress(OutputError):  # a full disk costs the memory, not the answer
            atomic_write(memory, json.dumps(known))
    return known[key]


def _read(path: Path) -> dict[str, str]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
