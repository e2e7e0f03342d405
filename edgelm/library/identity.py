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
    listed, files = _listed(directory)
    if listed is None:
        listed = {path.name: _remembered_sha256(path) for path in files}
    return identity_of(listed)


def known_identity(directory: Path) -> str | None:
    """Return the same where it is known without reading the weights, else None.

    Raises:
        NotFoundError, FormatError, UnsafeError, OSError: as `weights_identity`.
    """
    listed, files = _listed(directory)
    if listed is None:
        memory = _read(paths.caches() / "sha256.json")
        found = {path.name: memory.get(_key(path)) for path in files}
        listed = {name: known for name, known in found.items() if known is not None}
        if len(listed) < len(found):
            return None
    return identity_of(listed)


def _listed(directory: Path) -> tuple[dict[str, str] | None, list[Path]]:
    """The hashes that the manifest has of all weight files, if it has them, and the files."""
    adapter = directory / "adapters.safetensors"
    files = [adapter] if adapter.is_file() else weight_files(directory)
    manifest = Manifest.read(directory)
    listed = manifest.weights_sha256 if manifest else {}
    return (listed if set(listed) == {path.name for path in files} else None), files


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
    key = _key(path)
    memory = paths.caches() / "sha256.json"
    known = _read(memory)
    if key not in known:
        known[key] = file_sha256(path)
        with suppress(OutputError):  # a full disk costs the memory, not the answer
            atomic_write(memory, json.dumps(known))
    return known[key]


def _key(path: Path) -> str:
    found = path.stat()
    return f"{path.resolve()}|{found.st_size}|{found.st_mtime_ns}"


def _read(path: Path) -> dict[str, str]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
