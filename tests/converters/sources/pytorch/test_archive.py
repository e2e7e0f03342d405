"""Storages are found where they are, and a file that is not what it says is refused."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.pytorch.archive import read_archive
from edgelm_converters.sources.pytorch.state_dict import open_state_dict


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value: int) -> bytes:
    return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)


def counts(*values: int) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def one_tensor(
    shape: tuple[int, ...] = (2, 3),
    strides: tuple[int, ...] = (3, 1),
    offset: int = 0,
    held: int = 6,
    key: str = "0",
    rest: bytes = b"\x89N",
) -> bytes:
    """The pickle of {"w": tensor} with these numbers, true or not."""
    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + integer(held) + b"tQ"
    )
    call = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + integer(offset)
        + counts(*shape)
        + counts(*strides)
    )
    return b"\x80\x02}" + text("w") + call + rest + b"tRs."


SIX = struct.pack("<6f", *range(6))


def test_a_tensor_put_together_by_hand_is_read(zip_of: Callable[..., Path]) -> None:
    path = zip_of(one_tensor(), {"0": SIX})
    assert open_state_dict(path)["w"].read().tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"shape": (2, 4), "strides": (4, 1)}, "needs 8 elements, but storage '0' holds 6"),
        ({"offset": 1}, "needs 7 elements"),
        ({"offset": -1}, "offset -1"),
        ({"offset": 1 << 50}, "offset 1125899906842624"),
        ({"strides": (6, 1)}, "needs 9 elements"),
        ({"strides": (-3, 1)}, "as the strides"),
        ({"shape": (-2, 3)}, "as the shape"),
        ({"shape": (1 << 62, 3)}, "as the shape"),
        ({"shape": (6,)}, r"shape \(6,\), strides \(3, 1\)"),
        ({"shape": (1,) * 17, "strides": (1,) * 17}, "up to 16"),
        ({"shape": (1 << 40,), "strides": (0,)}, "repeats the 6 elements"),
        ({"shape": (1 << 40, 1 << 40, 1 << 40), "strides": (0, 0, 0)}, "repeats the 6 elements"),
        ({"held": 7}, "'archive/data/0' in .* takes 24 bytes, expected at least 28"),
        ({"held": 1 << 47}, "expected at least"),
        ({"held": -1}, "with -1 elements"),
        ({"held": 1 << 60}, "elements"),
        ({"key": "1"}, "storage '1' is missing"),
        ({"key": "../0"}, "storage '../0' is missing"),
        ({"rest": b"\x89N}" + text("conj") + b"\x88s"}, "conjugate"),
        ({"rest": b"\x89"}, "5 arguments"),
    ],
)
def test_a_tensor_that_lies_is_refused(zip_of: Callable[..., Path], numbers: Any, message: str) -> None:
    path = zip_of(one_tensor(**numbers), {"0": SIX})
    with pytest.raises(FormatError, match=message) as caught:
        open_state_dict(path)
    assert str(path) in caught.value.message


@pytest.mark.parametrize("zip64", [False, True])
def test_storages_are_where_zipfile_finds_them(
    torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zip64: bool
) -> None:
    torch.save({"a": torch.arange(100), "b": torch.ones(7, dtype=torch.float16)}, tmp_path / "w.bin")
    with zipfile.ZipFile(tmp_path / "w.bin") as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    if zip64:  # all offsets and counts in 64-bit fields, as in files beyond 4 GiB
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 0)
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 0)
    path = tmp_path / "again.bin"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert (b"PK\6\6" in path.read_bytes()) == zip64
    content = path.read_bytes()
    for key, begin in read_archive(path).begins.items():
        data = next(data for name, data in members.items() if name.endswith(f"/data/{key}"))
        assert content[begin : begin + len(data)] == data


def test_compressed_and_encrypted_members_are_refused(zip_of: Callable[..., Path]) -> None:
    path = zip_of(one_tensor(), {"0": bytes(1000)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UnsupportedError, match=r"is compressed \(method 8\)") as caught:
        open_state_dict(path)
    assert "zip -0" in str(caught.value)
    path = zip_of(one_tensor(), {"0": SIX})
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2")
    content[at + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(UnsupportedError, match="is encrypted"):
        open_state_dict(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(zip_of: Callable[..., Path], tmp_path: Path) -> None:
    path = zip_of(one_tensor(), {"0": SIX})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", SIX)
    with pytest.raises(FormatError, match="'archive/data/0' is in it twice"):
        open_state_dict(path)


def directory_field(path: Path, at: int, layout: str, value: int) -> None:
    """Overwrite a field of the directory entry of the storage."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\1\2")
    struct.pack_into(layout, content, entry + at, value)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("at", "layout", "value", "message"),
    [
        (20, "<L", 0x7FFFFFFF, "is said to take"),
        (24, "<L", 0x7FFFFFFF, "is said to take"),
        (24, "<L", 8, "is said to take"),
        (24, "<L", 0xFFFFFFFF, "is said to take"),
        (42, "<L", 3, "is not where its directory says|refers to byte"),
        (42, "<L", 0, "is not where its directory says"),
        (42, "<L", 0xFFFFFFF0, "refers to byte"),
        (28, "<H", 0xFFFF, "is damaged|refers to|missing"),
        (30, "<H", 0xFFFF, "is damaged|refers to|missing"),
        (46, "<B", 0xFF, "not UTF-8"),
    ],
)
def test_a_lying_directory_is_refused(
    zip_of: Callable[..., Path], at: int, layout: str, value: int, message: str
) -> None:
    path = zip_of(one_tensor(), {"0": SIX})
    directory_field(path, at, layout, value)
    with pytest.raises(FormatError, match=message):
        open_state_dict(path)


@pytest.mark.parametrize(
    ("at", "layout", "value"),
    [(10, "<H", 0xFFFE), (12, "<L", 0xF0000000), (16, "<L", 0xF0000000), (10, "<H", 0xFFFF)],
)
def test_a_lying_end_record_is_refused(zip_of: Callable[..., Path], at: int, layout: str, value: int) -> None:
    path = zip_of(one_tensor(), {"0": SIX})
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, content.rindex(b"PK\5\6") + at, value)
    path.write_bytes(content)
    with pytest.raises(FormatError, match="broken zip archive"):
        open_state_dict(path)


def test_an_archive_without_its_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/else", b"")
    with pytest.raises(FormatError, match=r"0 data.pkl"):
        open_state_dict(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        archive.writestr("b/data.pkl", b"N.")
    with pytest.raises(FormatError, match=r"2 data.pkl"):
        open_state_dict(path)


def test_other_formats_are_named(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(FormatError, match="Git LFS pointer"):
        open_state_dict(path)
    path.write_bytes(b"storages".ljust(257, b"\0") + b"ustar\0".ljust(255, b"\0"))
    with pytest.raises(UnsupportedError, match="tar format"):
        open_state_dict(path)
    path.write_bytes(pickle.dumps({"w": [1.0]}, 2))
    with pytest.raises(FormatError, match="not a PyTorch file"):
        open_state_dict(path)
    path.write_bytes(b"<!DOCTYPE html><html>")
    with pytest.raises(FormatError, match="at byte"):
        open_state_dict(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        archive.writestr("a/constants.pkl", b"N.")
    with pytest.raises(UnsupportedError, match="TorchScript"):
        open_state_dict(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        archive.writestr("a/byteorder", b"big")
    with pytest.raises(UnsupportedError, match="byte order b'big'"):
        open_state_dict(path)


def test_a_pickle_larger_than_any_is_not_read(
    zip_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgelm_converters.sources.pytorch.archive.MAX_PICKLE_BYTES", 100)
    with pytest.raises(FormatError, match="expected at most 100"):
        open_state_dict(zip_of(one_tensor(), {"0": SIX}))


def legacy(
    magic: int = 0x1950A86A20F9469CFC6C,
    version: int = 1001,
    *,
    little: bool = True,
    keys: Any = ("0",),
    count: int = 6,
) -> bytes:
    head = b"".join(pickle.dumps(value, 2) for value in (magic, version, {"little_endian": little}))
    keys = list(keys) if isinstance(keys, tuple) else keys
    return head + one_tensor() + pickle.dumps(keys, 2) + struct.pack("<Q", count) + SIX


def test_a_legacy_file_put_together_by_hand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(legacy())
    assert open_state_dict(path)["w"].read().tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"magic": 7}, "starts with the pickle of 7"),
        ({"version": 1000}, "version 1000, expected 1001"),
        ({"keys": ()}, "does not match its tensors"),
        ({"keys": ("0", "1")}, "does not match its tensors"),
        ({"keys": {"0": 1}}, "does not match its tensors"),
        ({"keys": (0,)}, "does not match its tensors"),
        ({"keys": ("0", "0")}, "storage '0' .* takes"),
        ({"count": 5}, "takes 20 bytes, expected 24"),
        ({"count": 1 << 62}, "expected 24"),
    ],
)
def test_a_legacy_file_that_lies_is_refused(tmp_path: Path, changes: Any, message: str) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(legacy(**changes))
    with pytest.raises(FormatError, match=message):
        open_state_dict(path)


def test_a_legacy_file_of_a_big_endian_machine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(legacy(little=False))
    with pytest.raises(UnsupportedError, match="little-endian"):
        open_state_dict(path)


def test_a_truncated_legacy_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(legacy()[:-1])
    with pytest.raises(FormatError, match="of the 23 that are left"):
        open_state_dict(path)
