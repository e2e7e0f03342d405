"""What on this machine refers to a model or an adapter: adapters and models built on it, runs, chats.

By the hash of the weights where a manifest lists it, else by the path. Renaming keeps every reference right.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.atomic import atomic_directory, atomic_write, disk_errors, refuse_existing
from edgelm.errors import FormatError, NotFoundError
from edgelm.json_files import read_json
from edgelm.library.identity import identity_of
from edgelm.library.manifest import FILE_NAME, Manifest
from edgelm.library.names import directories, named_in, near_name, place
from edgelm.store import chat_schema
from edgelm.store.database import Database, Schema

_ADAPTER_CONFIG = "adapter_config.json"


def find_named(library: Path, name: str, kind: str) -> Path:
    """Find the directory of exactly that name; a path is never one.

    Raises:
        NotFoundError: there is none; with the nearest name.
    """
    found = named_in(library, name)
    if found is not None:
        return found
    there = [path.name for path in directories(library)]
    near = near_name(Path(name).name, there)
    what = (
        f"{name!r} is a path, expected a name of the library"
        if "/" in name
        else f"no {kind} {name!r} in the library"
    )
    raise NotFoundError(
        what, hint=f"did you mean {shlex.quote(near)}?" if near else f"edgelm {kind}s lists them"
    )


def built_on(directory: Path) -> list[str]:
    """List what was built on a model or an adapter: `adapter NAME` or `model NAME`."""
    identity, own = _known_identity(directory), str(directory.absolute())
    here = [("adapter", path) for path in directories(paths.adapters())]
    here += [("model", path) for path in directories(paths.models())]
    return [
        f"{kind} {path.name}" for kind, path in here if path != directory and _builds_on(path, identity, own)
    ]


def _known_identity(directory: Path) -> str | None:
    """Return a model's identity without hashing gigabytes: None where its manifest lists no hashes."""
    manifest = _manifest(directory)
    return identity_of(manifest.weights_sha256) if manifest and manifest.weights_sha256 else None


def _manifest(directory: Path) -> Manifest | None:
    try:
        return Manifest.read(directory)
    except FormatError:
        return None  # a broken neighbour is not this model's problem


def _builds_on(other: Path, identity: str | None, path: str) -> bool:
    manifest = _manifest(other)
    for parent in manifest.parents if manifest else ():
        sha256 = parent.get("sha256")
        if parent.get("relation") and (parent.get("source") == path or (identity and sha256 == identity)):
            return True
    said = _json(other / _ADAPTER_CONFIG)
    own = said.get("edgelm") if isinstance(said.get("edgelm"), dict) else {}
    return said.get("model") == path or (identity is not None and (own or {}).get("base_sha256") == identity)


def _json(path: Path) -> Mapping[str, Any]:
    try:
        return read_json(path)
    except (FormatError, NotFoundError, OSError):
        return {}


def rename(library: Path, old: str, new: str, kind: str) -> Path:
    """Give a model or an adapter of the library another name, and say so wherever the old one stands.

    Raises:
        NotFoundError: there is none of the old name.
        OptionError: the new name is none.
        OutputError: the new name is taken, or the disk refuses.
    """
    directory, target = find_named(library, old, kind), place(library, name=new)
    old = directory.name  # it may have been named in another case
    if target == directory:
        target = library / new
    is_same = target.exists() and target.samefile(directory)  # another case, on a disk that knows none
    if not is_same or old == new:
        refuse_existing(target, hint="choose another name")
    with disk_errors(target):
        directory.rename(target)
    _tell_files(str(directory.absolute()), str(target.absolute()), old, new)
    if paths.database().exists():
        _tell_store(str(directory.absolute()), str(target.absolute()), old, new)
    return target


def copy(library: Path, old: str, new: str, kind: str) -> Path:
    """Copy a model or an adapter under another name, without sharing a file with the first.

    Raises:
        NotFoundError, OptionError, OutputError: as for `rename`.
    """
    directory, target = find_named(library, old, kind), place(library, name=new)
    with atomic_directory(target) as partial, disk_errors(target):
        shutil.copytree(directory, partial, dirs_exist_ok=True)
    return target


def _tell_files(old_path: str, new_path: str, old: str, new: str) -> None:
    """Manifests and configs of what is here, and what runs keep."""
    tell = _renaming(old_path, new_path, old, new)
    for library in (paths.models(), paths.adapters()):
        for directory in directories(library):
            _rewrite(directory / FILE_NAME, tell)
            _rewrite(directory / _ADAPTER_CONFIG, tell)
    for directory in directories(paths.runs()):
        _rewrite(directory / "config.json", tell)
        _rewrite_lines(directory / "events.jsonl", tell)


def _renaming(old_path: str, new_path: str, old: str, new: str) -> Callable[[Any], Any]:
    """A function that puts the new path for the old one, and the new name beside it, in plain JSON."""

    def tell(value: Any) -> Any:
        if isinstance(value, str):
            return new_path if value == old_path else value
        if isinstance(value, list):
            return [tell(item) for item in value]
        if isinstance(value, dict):
            told = {key: tell(item) for key, item in value.items()}
            if told != value and told.get("name") == old and value.get("source") == old_path:
                told["name"] = new
            return told
        return value

    return tell


def _rewrite(path: Path, tell: Callable[[Any], Any]) -> None:
    said = dict(_json(path))
    told = tell(said)
    if told != said:
        atomic_write(path, json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def _rewrite_lines(path: Path, tell: Callable[[Any], Any]) -> None:
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    told = list(_told_lines(lines, tell))
    if told != lines:
        atomic_write(path, "".join(f"{line}\n" for line in told))


def _told_lines(lines: list[str], tell: Callable[[Any], Any]) -> Iterator[str]:
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            yield line
            continue
        told = tell(said)
        yield line if told == said else json.dumps(told)


def _tell_store(old_path: str, new_path: str, old: str, new: str) -> None:
    """Put the new name into chats, which name a model by its name, and an adapter by its path."""
    tell = _renaming(old_path, new_path, old, new)
    is_model = Path(new_path).parent == paths.models()
    with _database(chat_schema.SCHEMA) as database, database.transaction() as rows:
        if is_model:
            rows.execute("UPDATE chat_sessions SET model = ? WHERE model = ?", (new, old))
            rows.execute("UPDATE chat_messages SET model = ? WHERE model = ?", (new, old))
        rows.execute("UPDATE chat_messages SET adapter = ? WHERE adapter = ?", (new_path, old_path))
        for row in rows.execute("SELECT id, settings FROM chat_sessions").fetchall():
            said = json.loads(row[1])
            if (told := tell(said)) != said:
                rows.execute("UPDATE chat_sessions SET settings = ? WHERE id = ?", (json.dumps(told), row[0]))


def _database(schema: Schema) -> closing[Database]:
    return closing(Database(paths.database(), schema))
