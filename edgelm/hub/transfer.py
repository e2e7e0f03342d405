"""Bytes from the Hub into the cache that every Hugging Face tool shares.

huggingface_hub 2.4 deletes a half-finished file when its process ends, so files in large-file storage are
fetched here: appended to a partial file beside the cache's blobs, resumed by Range (by a later process too),
checked against the SHA-256 that the Hub lists, and renamed into place. Knows nothing about models.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError
from edgelm.hub.cache import cache_of, partial_of, size_of, snapshot_directory
from edgelm.hub.errors import hub_errors
from edgelm.hub.files import Listing
from edgelm.log import logger
from edgelm.machine.power import kept_awake
from edgelm.progress import OnProgress, Progress

_FRUITLESS_ATTEMPTS = 5
"""Connections in a row that may bring nothing before giving up."""
_HTTP_LIMIT_BYTES = 50_000_000_000
"""Larger files are only served through Xet (huggingface_hub.constants.MAX_HTTP_DOWNLOAD_SIZE)."""


@kept_awake()
def download(listing: Listing, names: Iterable[str], on_progress: OnProgress) -> tuple[Path, ...]:
    """Bring `names` into the cache, in order, and return their paths there.

    Raises:
        NotFoundError, NetworkError, OutputError: see `hub_errors`.
        FormatError: the bytes are not those that the Hub lists.
    """
    names = list(names)
    meter = _Meter(listing.size_bytes(names), on_progress)
    paths = []
    with hub_errors(listing.repo, listing.revision):
        for name in names:
            meter.begin(name)
            paths.append(_download_one(listing, name, meter.advance))
            meter.end(listing.files[name].size_bytes)
    return tuple(paths)


class _Meter:
    """Bytes of all files together, as progress reports."""

    def __init__(self, total: int, on_progress: OnProgress) -> None:
        self._total, self._on_progress = total, on_progress
        self._finished = self._current = 0
        self._name = ""

    def begin(self, name: str) -> None:
        self._name, self._current = name, 0
        self.advance(0)

    def advance(self, size_bytes: int) -> None:
        self._current += size_bytes
        done = min(self._finished + self._current, self._total)
        self._on_progress(Progress("Downloading", done, self._total, "bytes", self._name))

    def end(self, size_bytes: int) -> None:
        self.advance(size_bytes - self._current)
        self._finished += size_bytes
        self._current = 0


def _download_one(listing: Listing, name: str, advance: Callable[[int], None]) -> Path:
    from huggingface_hub import hf_hub_download

    path = snapshot_directory(listing.repo, listing.revision) / name
    if path.exists():
        return path
    file = listing.files[name]
    if file.sha256 is not None and file.size_bytes <= _HTTP_LIMIT_BYTES:
        _download_blob(listing, name, file.size_bytes, file.sha256, advance)
    # Finds the blob where there is one, and makes the snapshot's link to it.
    return Path(
        hf_hub_download(listing.repo, name, revision=listing.revision, tqdm_class=_silent_bar(advance))
    )


def _silent_bar(advance: Callable[[int], None]) -> Any:
    """What huggingface_hub asks of a tqdm class, reporting to `advance` and drawing nothing."""

    class Bar:
        total = n = 0

        def __init__(self, **_: object) -> None:
            pass

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, size_bytes: int = 1) -> None:
            advance(size_bytes)

        def update_transfer(self, size_bytes: int) -> None:
            """Bytes on the wire, which Xet counts apart from bytes of the file."""

        def set_postfix_str(self, text: str, refresh: bool = True) -> None:
            pass

        set_transfer_postfix_str = set_postfix_str

    return Bar


def _download_blob(
    listing: Listing, name: str, size_bytes: int, sha256: str, advance: Callable[[int], None]
) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import WeakFileLock

    cache = cache_of(listing.repo)
    blob = cache / "blobs" / sha256
    lock = cache.parent / ".locks" / cache.name / f"{sha256}.lock"
    for directory in (blob.parent, lock.parent):
        directory.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():
            return
        partial = partial_of(blob)
        _fill(partial, hf_hub_url(listing.repo, name, revision=listing.revision), size_bytes, advance)
        _check_sha256(partial, sha256, f"{name} of {listing.repo}")
        partial.replace(blob)


def _fill(partial: Path, url: str, size_bytes: int, advance: Callable[[int], None]) -> None:
    """Append to `partial` until it is whole, reconnecting as long as that brings bytes."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    partial.touch()
    advance(min(size_of(partial), size_bytes))
    fruitless = 0
    while (have := size_of(partial)) < size_bytes:
        failure: Exception = httpx2.ReadError("the connection closed early")
        try:
            _append(partial, url, have, size_bytes, advance)
        except httpx2.TransportError as error:
            failure = error
        except HfHubHTTPError as error:
            if error.response.status_code < 500:
                raise
            failure = error
        fruitless = 0 if size_of(partial) > have else fruitless + 1
        if fruitless >= _FRUITLESS_ATTEMPTS:
            raise failure
        if size_of(partial) < size_bytes:
            logger.debug("%s stopped at byte %d: %s", url, size_of(partial), failure)
            time.sleep(min(0.1 * 4**fruitless, 8))


def _append(partial: Path, url: str, have: int, size_bytes: int, advance: Callable[[int], None]) -> None:
    """Ask for what lies beyond `have` and write what comes, up to `size_bytes` in all."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    headers = {**build_hf_headers(library_name="edgelm"), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    # The Hub's own URL, not the signed one that it redirects to: that expires during a long download.
    with get_session().stream(
        "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, follow_redirects=True
    ) as response:
        hf_raise_for_status(response)
        with partial.open("ab") as file:
            if have and response.status_code != 206:
                file.truncate(0)
                advance(-have)
            for chunk in response.iter_bytes():
                file.write(chunk)
                file.flush()  # a kill loses nothing that arrived
                advance(len(chunk))
                if file.tell() >= size_bytes:
                    break


def _check_sha256(path: Path, wanted: str, what: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted:
        path.unlink()
        raise FormatError(
            f"{what} arrived damaged: its SHA-256 is {found[:12]}…, the Hub lists {wanted[:12]}…",
            hint="run it again; if it fails again, a proxy may be changing what passes through it",
        )
