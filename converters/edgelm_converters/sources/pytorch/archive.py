"""A file that `torch.save` wrote: its pickled value, and where in the file its storages lie.

Two formats: the zip archive of torch 1.6 and later, told by its first bytes, and the legacy one, which is
five pickles (magic number, version, system, value, storage keys) and then the storages one after another.
Reads the pickles and the headers; the storages are left to `state_dict`.
Source: torch/serialization.py, `_save` and `_legacy_save`, as of torch 2.13.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgelm.errors import FormatError, NotFoundError, UnsupportedError
from edgelm_converters.sources.pytorch.opcodes import MAX_PICKLE_BYTES, Window
from edgelm_converters.sources.pytorch.tensors import ALLOWED, Storage, read_storage_id
from edgelm_converters.sources.pytorch.unpickle import AllowedNames, describe, unpickle
from edgelm_converters.sources.pytorch.zip_directory import Member, ZipDirectory

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


@dataclass(frozen=True, slots=True)
class Archive:
    """What a file holds: `value` is made of plain values and `TensorView`s."""

    path: Path
    value: object
    begins: Mapping[str, int]
    """The byte at which each storage starts, by its key; all of its bytes are in the file."""


def read_archive(path: Path) -> Archive:
    """Read the pickle of the file at `path` and find its storages.

    Raises:
        NotFoundError: there is no such file.
        UnsafeError: the pickle asks for code.
        UnsupportedError: the file is of a format that edgelm does not read (compressed, big-endian, tar).
        FormatError: it is truncated, malformed or no PyTorch file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(512)
            if start.startswith(b"PK\3\4"):
                return _read_zip(file, path)
            _refuse_other_formats(start, path)
            return _read_legacy(file, path)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}") from error
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}") from error


class _Storages:
    """The storages that a pickle mentions, each of one size."""

    def __init__(self) -> None:
        self.by_key: dict[str, Storage] = {}

    def unpickle(self, window: Window, path: Path) -> object:
        return unpickle(window, AllowedNames(ALLOWED, self._note), path)

    def _note(self, value: object) -> Storage:
        storage = read_storage_id(value)
        known = self.by_key.setdefault(storage.key, storage)
        # A typed and an untyped view of one storage differ in kind; the larger claim is the one to check.
        if storage.size_bytes > known.size_bytes:
            self.by_key[storage.key] = storage
        return storage


def _read_zip(file: BinaryIO, path: Path) -> Archive:
    directory = ZipDirectory(file, path)
    root = _find_root(directory.members, path)
    _refuse_big_endian(file, directory, root, path)
    pickle = directory.members[f"{root}/data.pkl"]
    file.seek(directory.begin(pickle))
    if pickle.size > MAX_PICKLE_BYTES:
        raise FormatError(
            f"{pickle.name!r} in {path} takes {pickle.size} bytes, expected at most {MAX_PICKLE_BYTES}"
        )
    storages = _Storages()
    value = storages.unpickle(Window(file, pickle.size), path)
    begins = {key: _find_storage(directory, root, storage, path) for key, storage in storages.by_key.items()}
    return Archive(path, value, begins)


def _find_root(members: Mapping[str, Member], path: Path) -> str:
    roots = [name.removesuffix("/data.pkl") for name in members if name.endswith("/data.pkl")]
    roots = [root for root in roots if "/" not in root]
    if len(roots) != 1:
        raise FormatError(
            f"{path} is a zip archive with {len(roots)} data.pkl, expected one, as torch.save writes it"
        )
    if f"{roots[0]}/constants.pkl" in members:
        raise UnsupportedError(
            f"{path} is a TorchScript program, expected weights",
            hint="look for a safetensors release of the model",
        )
    return roots[0]


def _refuse_big_endian(file: BinaryIO, directory: ZipDirectory, root: str, path: Path) -> None:
    member = directory.members.get(f"{root}/byteorder")
    if member is None:  # before torch 2.1: little-endian
        return
    file.seek(directory.begin(member))
    order = file.read(min(member.size, 16))
    if order != b"little":
        raise UnsupportedError(f"{path} has byte order {order!r}, expected b'little'")


def _find_storage(directory: ZipDirectory, root: str, storage: Storage, path: Path) -> int:
    member = directory.members.get(f"{root}/data/{storage.key}")
    if member is None:
        raise FormatError(f"storage {describe(storage.key)} is missing from {path}")
    begin = directory.begin(member)
    if member.size < storage.size_bytes:
        raise FormatError(
            f"{member.name!r} in {path} takes {member.size} bytes, expected at least {storage.size_bytes}"
        )
    return begin


def _refuse_other_formats(start: bytes, path: Path) -> None:
    if start[257:262] == b"ustar":
        raise UnsupportedError(
            f"{path} is in the tar format of torch 0.1", hint="load it and save it again with a newer torch"
        )
    if start.startswith(b"version https://git-lfs"):
        raise FormatError(
            f"{path} is a Git LFS pointer, not the weights", hint="run `git lfs pull` in its repository"
        )


def _read_legacy(file: BinaryIO, path: Path) -> Archive:
    file.seek(0)
    storages = _Storages()

    def unpickle_next() -> object:
        return storages.unpickle(Window(file, MAX_PICKLE_BYTES), path)

    magic = unpickle_next()
    if magic != LEGACY_MAGIC:
        raise FormatError(f"{path} is not a PyTorch file: it starts with the pickle of {describe(magic)}")
    version = unpickle_next()
    if version != LEGACY_PROTOCOL:
        raise FormatError(f"{path} has protocol version {describe(version)}, expected {LEGACY_PROTOCOL}")
    system = unpickle_next()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise UnsupportedError(f"{path} was not written on a little-endian machine")
    value = unpickle_next()
    return Archive(path, value, _walk_storages(file, unpickle_next(), storages.by_key, path))


def _walk_storages(
    file: BinaryIO, keys: object, storages: Mapping[str, Storage], path: Path
) -> dict[str, int]:
    """Each storage is its number of elements (8 bytes) and then its bytes."""
    if (
        not isinstance(keys, list)
        or not all(isinstance(key, str) for key in keys)
        or set(keys) != storages.keys()
    ):
        raise FormatError(f"the list of storages in {path} does not match its tensors")
    at = file.tell()
    end = file.seek(0, 2)
    begins: dict[str, int] = {}
    for key in keys:
        storage = storages[key]
        file.seek(at)
        size_bytes = int.from_bytes(file.read(8), "little") * storage.kind.unit_bytes
        at += 8 + size_bytes
        if size_bytes != storage.size_bytes or at > end:
            raise FormatError(
                f"storage {describe(key)} in {path} takes {size_bytes} bytes, expected {storage.size_bytes}, "
                f"of the {max(0, end - at + size_bytes)} that are left",
                hint="the download may be cut short; try it again",
            )
        begins[key] = at - size_bytes
    return begins
