"""Computed prefixes on the disk: one safetensors file for each stretch of tokens, so that a chat reopens without prefill.

A file is named by a hash of everything that determines its content (model, adapter, kind of cache, all tokens up to
its last) and by a hash of its bytes. Nothing is believed before the bytes hash to the name; what does not is deleted and
computed again. Files are written whole, never changed, and shared by processes: one that vanishes is a miss. The file
names no class: states are put into fresh caches of the network that asks. Knows nothing about trees.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm import log
from edgelm.atomic import atomic_file, disk_errors, remove_all_orphans
from edgelm.errors import FormatError, OutputError
from edgelm.runtime.cache.node import FileSpan, Payload
from edgelm.zoo.weights.safetensors_header import read_header, read_metadata

DEFAULT_SMALLEST = 128
"""Tokens; fewer are computed about as fast as they are read."""

_FORMAT = "1"
_ID_DIGITS = 32
_SUFFIX = ".safetensors"


def default_budget_bytes(root: Path) -> int:
    """Return a tenth of what the disk has free, what the cache holds already included; 32 GiB at most."""
    try:
        there = next(path for path in (root, *root.parents) if path.exists())
        held = sum(path.stat().st_size for path in root.glob(f"[!.]*/[!.]*{_SUFFIX}"))
        return min((shutil.disk_usage(there).free + held) // 10, 32 << 30)
    except OSError as error:  # nothing can be kept where nothing can be looked at
        log.logger.info("the cache of prompts has no room: %s", error)
        return 0


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What a file's header says."""

    parent: str
    """The file that holds the tokens before; empty for the first."""
    start: int
    """How many tokens come before."""
    tokens: tuple[int, ...]
    has_snapshot: bool


class DiskCache:
    """Files of one model's prefixes.

    Args:
        directory: of this model's files alone; made when first written to.
        key: what determines the content of a cache beside its tokens; `variant`s are further parts of it.
        budget_bytes: what all files below `root` may take; the longest unused go first.
        root: the directory of all models' caches.
        smallest: tokens below which a stretch is not worth a file.
    """

    def __init__(self, root: Path, key: str, *, budget_bytes: int, smallest: int = DEFAULT_SMALLEST) -> None:
        self._root = root
        self._directory = root / _digest(key)[:_ID_DIGITS]
        self._key = key
        self._budget_bytes = budget_bytes
        self.smallest = smallest
        self._files: dict[str, Path] = {}
        self._variants: dict[str, str] = {}
        """Name of each file that has been looked into → its variant: a file never changes."""

    def index(self, variant: str) -> list[tuple[tuple[int, ...], FileSpan]]:
        """Return all tokens up to the end of each stretch, those that others build on first."""
        with _unimportant():
            remove_all_orphans(self._directory)
        self._files.update(self._listed())
        stretches = {name: found for name in list(self._files) if (found := self._header(name, variant))}
        whole: dict[str, tuple[int, ...]] = {}
        for name in sorted(stretches, key=lambda name: stretches[name].start):
            stretch = stretches[name]
            before = whole.get(stretch.parent, ()) if stretch.parent else ()
            if len(before) >= stretch.start:  # else what it builds on is gone
                whole[name] = (*before[: stretch.start], *stretch.tokens)
        return [
            (tokens, FileSpan(name, 0, len(stretches[name].tokens), stretches[name].has_snapshot))
            for name, tokens in whole.items()
        ]

    def read(self, span: FileSpan) -> Payload | None:
        """Return the payload of a span; None, and the file is gone, if it cannot be trusted."""
        path = self._files.get(span.name)
        if path is None:
            return None
        try:
            if _hash_file(path) != path.stem.rpartition("-")[2]:
                raise FormatError(f"{path} does not hash to its name")
            read_header(path)
            loaded: Any = mx.load(str(path), return_metadata=True)
            arrays, said = loaded
            payload = _unpack(arrays, json.loads(said["layout"]))
            part = payload.cut(span.start, span.end, keep_snapshot=span.has_snapshot)
            mx.eval(part.rows, part.snapshot or ())
        except FileNotFoundError:  # another process needed the room
            del self._files[span.name]
            return None
        except (OSError, RuntimeError, FormatError, ValueError, KeyError, TypeError, IndexError) as error:
            log.logger.warning("a cached prompt is computed again: %s", error)
            self._delete(span.name)
            return None
        return part

    def write(
        self,
        variant: str,
        before: Sequence[int],
        tokens: Sequence[int],
        payload: Payload,
        parent: FileSpan | None,
    ) -> FileSpan:
        """Write a stretch of `tokens` that come after `before`.

        Raises:
            OutputError: the disk refuses.
        """
        name = _digest(json.dumps([_FORMAT, self._key, variant, *before, *tokens]))[:_ID_DIGITS]
        span = FileSpan(name, 0, len(tokens), payload.snapshot is not None)
        if (there := self._listed().get(name)) is not None:  # another process was first
            self._files[name] = there
            return span
        arrays, layout = _pack(payload)
        said = {
            "format": _FORMAT,
            "key": self._key,
            "variant": variant,
            "parent": parent.name if parent else "",
            "start": str(len(before)),
            "tokens": json.dumps(list(tokens)),
            "snapshot": str(int(payload.snapshot is not None)),
            "layout": json.dumps(layout),
        }
        self._files[name] = self._save(name, arrays, said)
        return span

    def touch(self, names: Sequence[str]) -> None:
        """Mark files as used now: those that others build on last, so that they are never the older ones."""
        for name in reversed(names):
            path = self._files.get(name)
            if path is not None:
                with _unimportant():
                    os.utime(path)

    def shrink(self) -> None:
        """Delete what was used longest ago until all models' files are within the budget, as far as the disk lets it."""
        found = []
        with _unimportant():
            for path in self._root.glob(f"[!.]*/[!.]*{_SUFFIX}"):
                try:
                    facts = path.stat()
                except FileNotFoundError:  # another process was first
                    continue
                found.append((facts.st_mtime_ns, facts.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._budget_bytes:
                return
            with _unimportant():
                path.unlink(missing_ok=True)
            total -= size

    def _listed(self) -> dict[str, Path]:
        with _unimportant():
            return {path.name.partition("-")[0]: path for path in self._directory.glob(f"[!.]*-*{_SUFFIX}")}
        return {}

    def _header(self, name: str, variant: str) -> _Stretch | None:
        """What the file says of itself, if it is of this model and kind."""
        path = self._files[name]
        if self._variants.get(name, variant) != variant:
            return None
        try:
            said = read_metadata(path)
            self._variants[name] = said["variant"]
            if (said["format"], said["key"], said["variant"]) != (_FORMAT, self._key, variant):
                return None
            tokens = tuple(int(token) for token in json.loads(said["tokens"]))
            return _Stretch(said["parent"], int(said["start"]), tokens, said["snapshot"] == "1")
        except FileNotFoundError:
            return None
        except (OSError, FormatError, KeyError, ValueError, TypeError) as error:
            log.logger.warning("a cached prompt cannot be read and is deleted: %s", error)
            self._delete(name)
            return None

    def _delete(self, name: str) -> None:
        path = self._files.pop(name, None)
        if path is not None:
            with _unimportant():
                path.unlink(missing_ok=True)

    def _save(self, name: str, arrays: dict[str, mx.array], said: dict[str, str]) -> Path:
        path = self._directory / f"{name}{_SUFFIX}"
        with atomic_file(path) as partial:
            try:
                mx.save_safetensors(str(partial), arrays, said)
                read_header(partial)  # MLX does not say when the disk took only a part
            except (RuntimeError, FormatError) as error:
                raise OutputError(f"cannot write {path}: {error}") from error
            digest = _hash_file(partial)
        final = path.with_name(f"{name}-{digest}{_SUFFIX}")
        with disk_errors(final):
            path.replace(final)
        return final


@contextmanager
def _unimportant() -> Iterator[None]:
    """What a disk that cannot be written refuses costs time later, and not the answer now."""
    try:
        yield
    except OSError as error:
        log.logger.info("the cache of prompts is left as it is: %s", error)


def _pack(payload: Payload) -> tuple[dict[str, mx.array], Any]:
    """Arrays by name, and how they lie in the payload: a nest of names, numbers and None."""
    arrays: dict[str, mx.array] = {}

    def name_arrays(value: Any) -> Any:
        if isinstance(value, mx.array):
            name = str(len(arrays))
            arrays[name] = value
            return {"array": name}
        if isinstance(value, (list, tuple)):
            return {"tuple" if isinstance(value, tuple) else "list": [name_arrays(item) for item in value]}
        if value is None or isinstance(value, (bool, int, float)):
            return value
        raise TypeError(f"a cache state holds {value!r}")

    return arrays, [name_arrays(payload.rows), name_arrays(payload.snapshot)]


def _unpack(arrays: dict[str, mx.array], layout: Any) -> Payload:
    def nest(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        ((kind, inner),) = value.items()
        if kind == "array":
            return arrays[inner]
        items: Iterator[Any] = map(nest, inner)
        return tuple(items) if kind == "tuple" else list(items)

    rows, snapshot = map(nest, layout)
    return Payload(rows, snapshot)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_ID_DIGITS]
