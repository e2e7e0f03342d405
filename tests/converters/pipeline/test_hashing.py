"""Hashing beside a conversion: right when it is asked for, ended where the conversion is refused."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from edgelm_converters.pipeline import hashing as pipeline
from edgelm_converters.pipeline.hashing import CHUNK_BYTES, hash_files, hashing


def test_every_file_is_hashed(tmp_path: Path) -> None:
    texts = {"a": b"", "b": b"x" * (CHUNK_BYTES + 7)}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    with hashing([tmp_path / name for name in texts]) as hashes:
        assert hashes.result() == {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}


def test_a_refusal_does_not_wait_for_the_hash(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a").write_bytes(b"x")
    began, ended = threading.Event(), []

    def endless(files, stop: threading.Event) -> dict[str, str]:
        began.set()
        ended.append(stop.wait(60))
        return {}

    monkeypatch.setattr(pipeline, "hash_files", endless)
    with hashing([tmp_path / "a"]):
        began.wait(60)
    assert ended == [True]


def test_nothing_is_read_once_it_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    stop = threading.Event()
    stop.set()
    assert hash_files([tmp_path / "a"], stop) == {}
