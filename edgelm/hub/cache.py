"""What a repository holds, as the Hub or the local cache tells it, and where the cache keeps it.

The cache is the one that every Hugging Face tool shares, so that nothing is downloaded twice. Knows nothing
about models. Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from edgelm.errors import NetworkError, OutputError
from edgelm.hub.errors import SPACE_HINT, hub_errors
from edgelm.hub.files import Listing, RemoteFile
from edgelm.units import format_bytes

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def list_repo(repo: str, revision: str | None) -> Listing:
    """List what `repo` holds at `revision` (a branch, tag or commit; None is main).

    Raises:
        NotFoundError, NetworkError: see `hub_errors`.
    """
    from huggingface_hub import HfApi, constants

    with hub_errors(repo, revision):
        try:
            info = HfApi().model_info(
                repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
            )
            if not _COMMIT.fullmatch(info.sha or ""):
                raise TypeError(f"the commit is {info.sha!r}")
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
            # A captive portal or a proxy's page instead of the Hub's JSON.
            raise NetworkError(
                f"{constants.ENDPOINT} did not answer as a Hub does: {error}",
                hint="check the connection and HF_ENDPOINT",
            ) from error
    files = {item.rfilename: _remote_file(item) for item in info.siblings or () if _is_inside(item.rfilename)}
    architecture = (info.gguf or {}).get("architecture")
    return Listing(repo, str(info.sha), files, _licence_of(info), architecture)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _remote_file(sibling: Any) -> RemoteFile:
    sha256 = sibling.lfs.sha256 if sibling.lfs else ""
    return RemoteFile(sibling.size or 0, sha256 if _SHA256.fullmatch(sha256) else None)


def _licence_of(info: Any) -> str | None:
    tags = [tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:")]
    return tags[0] if tags else None


def list_cache(repo: str, revision: str | None) -> Listing | None:
    """List a repository from the local cache, or None: what is needed where there is no network."""
    commit = _cached_commit(repo, revision or "main")
    if commit is None:
        return None
    snapshot = snapshot_directory(repo, commit)
    paths = [path for path in snapshot.rglob("*") if path.is_file()]
    files = {path.relative_to(snapshot).as_posix(): _cached_file(path) for path in paths}
    return Listing(repo, commit, files)


def _cached_commit(repo: str, revision: str) -> str | None:
    if snapshot_directory(repo, revision).is_dir():
        return revision
    reference = cache_of(repo) / "refs" / revision
    commit = reference.read_text(encoding="ascii").strip() if reference.is_file() else ""
    return commit if commit and snapshot_directory(repo, commit).is_dir() else None


def _cached_file(path: Path) -> RemoteFile:
    blob = path.readlink().name if path.is_symlink() else ""
    return RemoteFile(path.stat().st_size, blob if _SHA256.fullmatch(blob) else None)


def remember_revision(listing: Listing, revision: str | None) -> None:
    """Note in the cache which commit a branch or tag is, so that it is found without a network."""
    name = revision or "main"
    if name == listing.revision:
        return
    reference = cache_of(listing.repo) / "refs" / name
    with hub_errors(listing.repo):
        reference.parent.mkdir(parents=True, exist_ok=True)
        temporary = reference.with_name(f"{reference.name}.{os.getpid()}.tmp")
        temporary.write_text(listing.revision, encoding="ascii")
        temporary.replace(reference)


def snapshot_directory(repo: str, commit: str) -> Path:
    """Return where the cache keeps the files of one commit; it may not exist yet."""
    return cache_of(repo) / "snapshots" / commit


def cache_of(repo: str) -> Path:
    """Return the cache's directory of one repository."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def check_space(listing: Listing, names: Iterable[str]) -> None:
    """Refuse a download that the disk cannot hold, before it starts.

    Raises:
        OutputError: with the bytes needed and the bytes free.
    """
    snapshot = snapshot_directory(listing.repo, listing.revision)
    absent = [listing.files[name] for name in names if not (snapshot / name).exists()]
    missing = sum(_bytes_to_come(listing.repo, file) for file in absent)
    cache = cache_of(listing.repo)
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if missing > free:
        raise OutputError(
            f"{listing.repo} needs {format_bytes(missing)}, but {cache.parent} has {format_bytes(free)} free",
            hint=SPACE_HINT,
        )


def _bytes_to_come(repo: str, file: RemoteFile) -> int:
    if file.sha256 is None:
        return file.size_bytes
    blob = cache_of(repo) / "blobs" / file.sha256
    return 0 if blob.exists() else max(file.size_bytes - size_of(partial_of(blob)), 0)


def partial_of(blob: Path) -> Path:
    """Return where a blob is collected until it is whole."""
    return blob.with_name(f"{blob.name}.edgelm.incomplete")


def size_of(path: Path) -> int:
    """Return the size of a file in bytes, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0
