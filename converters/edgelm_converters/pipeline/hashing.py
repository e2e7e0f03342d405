"""Hashes of the source's files, computed on a thread of their own from when the source is opened until they are asked for."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

CHUNK_BYTES = 64 << 10
"""What is read at once: into a buffer that stays in the processor's cache, which takes a quarter of a megabyte's time."""


@contextmanager
def hashing(files: Sequence[Path]) -> Iterator[Future[dict[str, str]]]:
    """Give the SHA-256 of each file in hexadecimal, by file name, once they are there.

    Leaving the block ends a hashing that is under way: a refusal does not wait for it.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1, "source hash") as pool:
        try:
            yield pool.submit(hash_files, files, stop)
        finally:
            stop.set()


def hash_files(files: Sequence[Path], stop: threading.Event) -> dict[str, str]:
    """Return the SHA-256 of each file in hexadecimal, by file name; of those before `stop` was set."""
    hashes: dict[str, str] = {}
    buffer = memoryview(bytearray(CHUNK_BYTES))
    for path in files:
        sha256 = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                if stop.is_set():
                    return hashes
                sha256.update(buffer[:count])
        hashes[path.name] = sha256.hexdigest()
    return hashes
