"""A pickle that asks for anything but tensors is refused by name, and nothing of it runs."""

from __future__ import annotations

import os
import pickle
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgelm.errors import EdgeLMError, FormatError, UnsafeError
from edgelm_converters.sources.pytorch import unpickle
from edgelm_converters.sources.pytorch.state_dict import open_state_dict


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "executed"


@pytest.fixture(params=["zip", "legacy", "bare"])
def write(
    request: pytest.FixtureRequest, tmp_path: Path, zip_of: Any, legacy_of: Any
) -> Callable[[bytes], Path]:
    """The pickle as the value of either format, or as the whole file."""

    def write_bare(pickled: bytes) -> Path:
        path = tmp_path / "bare.bin"
        path.write_bytes(pickled)
        return path

    return {"zip": zip_of, "legacy": legacy_of, "bare": write_bare}[request.param]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda mark: Call(os.system, f"touch {mark}"), f"{os.name}.system"),
        (lambda mark: Call(eval, f"open({str(mark)!r}, 'w')"), "eval"),
        (lambda mark: Call(exec, f"open({str(mark)!r}, 'w')"), "exec"),
        (lambda mark: Call(getattr, os, "system"), "getattr"),
        (lambda mark: {"model": {"w": [1, (2, {"deep": Call(os.mkdir, str(mark))})]}}, "mkdir"),
        (lambda mark: Call(dict, state={"x": Call(os.mkdir, str(mark))}), "dict"),
        (lambda mark: Path(str(mark)), "pathlib"),
    ],
)
def test_code_is_refused_by_name_at_every_protocol(
    write: Callable[[bytes], Path], sentinel: Path, make: Callable[[Path], Any], name: str, protocol: int
) -> None:
    value = make(sentinel) if name != "getattr" else Call(getattr, "text", "upper")
    path = write(pickle.dumps(value, protocol))
    with pytest.raises(UnsafeError, match=name) as caught:
        open_state_dict(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert not sentinel.exists()


@pytest.mark.parametrize(
    ("pickled", "name"),
    [
        (b"cos\nsystem\n(S'touch X'\ntR.", "os.system"),
        (b"(S'touch X'\nios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nS'touch X'\no.", "os.system"),
        (b"\x80\x02cposix\nsystem\nX\x07\x00\x00\x00touch X\x85R.", "posix.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x07touch X\x85R.", "os.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "builtins.eval"),
        (b"\x80\x04\x8c\x03\xc3\xb6s\x8c\x06system\x93.", "ös.system"),
        ("cös\nsÿstem\n.".encode(), "ös.sÿstem"),
        (b"\x80\x04\x8c\x05a\nb.c\x8c\x01d\x93.", r"a\\nb.c.d"),
        (b"\x80\x04\x8c\x05torch\x8c\x0eload.__class__\x93.", "torch.load.__class__"),
        (b"\x80\x02ctorch\nload\n.", "torch.load"),
        (b"\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n.", "_rebuild_sparse_tensor"),
        (b"\x80\x02ccollections\nCounter\n.", "collections.Counter"),
        (b"\x80\x02ccollections\nOrderedDict.fromkeys\n.", "OrderedDict.fromkeys"),
        (b"\x80\x02\x82\x07.", "extension 7"),
        (b"\x80\x02\x83\x07\x01.", "extension 263"),
        (b"\x80\x02\x84\x07\x01\x00\x00.", "extension 263"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93)\x81.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x92.", "os.system"),
    ],
)
def test_every_way_to_name_a_global_is_refused(
    write: Callable[[bytes], Path], pickled: bytes, name: str
) -> None:
    with pytest.raises(UnsafeError, match=name):
        open_state_dict(write(pickled))


def test_no_module_is_imported_for_a_refused_name(zip_of: Callable[..., Path]) -> None:
    assert "this" not in sys.modules
    with pytest.raises(UnsafeError, match=r"this\.s"):
        open_state_dict(zip_of(b"\x80\x02cthis\ns\n."))
    assert "this" not in sys.modules


def test_a_long_name_is_shortened_in_the_message(zip_of: Callable[..., Path]) -> None:
    with pytest.raises(UnsafeError) as caught:
        open_state_dict(zip_of(b"\x80\x04X\x00\xff\x00\x00" + b"a" * 0xFF00 + b"\x8c\x01b\x93."))
    assert len(caught.value.message) < 500


ORDERED = b"ccollections\nOrderedDict\n"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"", "ends too soon"),
        (b"\x80\x02", "ends too soon"),
        (b"\x80\x02.", "empty stack"),
        (b"\x80\x02N", "ends too soon"),
        (b"\xff", "unknown opcode"),
        (b"\x80\x02" + TENSOR + b")R.", "0 arguments"),
        (b"\x80\x02" + TENSOR + b"(NNNNNNtR.", "storage is None"),
        (b"\x80\x02K\x01)R.", "calls 1"),
        (b"\x80\x02" + ORDERED + b"]R.", "calls a Constructor"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls a StorageType"),
        (b"\x80\x02" + ORDERED + b"](]K\x01e\x85R.", "made from items"),
        (b"\x80\x02" + ORDERED + b"N\x81.", "NEWOBJ"),
        (b"\x80\x02" + ORDERED + b"}b.", "expected a dict"),
        (b"\x80\x02NQ.", "None as a persistent id"),
        (b"\x80\x02Pstorage\n.", "PERSID"),
        (b"\x80\x02h\x05.", "memo 5"),
        (b"\x80\x02q\x05.", "empty stack"),
        (b"\x80\x02t.", "lacks a mark"),
        (b"\x80\x02K\x01K\x02a.", "expected a list"),
        (b"\x80\x02}K\x01u.", "lacks a mark"),
        (b"\x80\x02}(K\x01u.", "without a value"),
        (b"\x80\x02}]K\x01s.", "a list as a dictionary key"),
        (b"\x80\x02}G\x00\x00\x00\x00\x00\x00\x00\x00K\x01s.", "0.0 as a dictionary key"),
        (b"\x80\x02}\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x1fNs.", "as a dictionary key"),
        (b"\x80\x02\x8a\x11" + b"\x01" * 17 + b".", "17 bytes"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "2147483647 bytes"),
        (b"\x80\x02\x8b\xff\xff\xff\xff.", "-1 bytes"),
        (b"\x80\x02T\xfe\xff\xff\xff.", "-2 bytes"),
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", "9223372036854775807 bytes"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "18446744073709551615 bytes"),
        (b"\x80\x02X\x02\x00\x00\x00\xff\xff.", "not UTF-8"),
        (b"L" + b"9" * 5000 + b"L\n.", "1024 bytes"),
        (b"L" + b"9" * 500 + b"L\n.", "integer is expected"),
        (b"I\xc2\xb2\n.", "integer is expected"),
        (b"I--1\n.", "integer is expected"),
        (b"p-1\n.", "slot out of range"),
        (b"\x80\x05\x96\x00\x00\x00\x00\x00\x00\x00\x01.", "BYTEARRAY8"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x04\x8f.", "EMPTY_SET"),
        (b"\x80\x02K\x010.", "POP"),
        (b"\x80\x04K\x01K\x02\x93.", "not text"),
    ],
)
def test_a_malformed_pickle_is_a_format_error(
    zip_of: Callable[..., Path], pickled: bytes, message: str
) -> None:
    path = zip_of(pickled)
    with pytest.raises(FormatError, match=message) as caught:
        open_state_dict(path)
    assert not isinstance(caught.value, UnsafeError)
    assert str(path) in caught.value.message


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    [
        b"]",  # lists
        b"}",  # dictionaries
        b"(",  # marks
        b"]\x94",  # the memo
        b"}]\x94",
        b"\x85",  # nesting
        b"\x86",
        b"h\x00h\x00\x86q\x00",  # doubling
        b"h\x00a",
        b"]]]]t(",
        ORDERED + b")R",
        b"X\x08\x00\x00\x00abcdefgh",
    ],
    ids=repr,
)
@pytest.mark.timeout(60)
def test_a_bomb_is_refused_within_bounded_memory(
    zip_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, unit: bytes
) -> None:
    steps = 20_000
    monkeypatch.setattr(unpickle, "MAX_OPCODES", steps)
    path = zip_of(b"\x80\x04](]q\x00" + unit * 22_000 + b".")
    tracemalloc.start()
    try:
        with pytest.raises(EdgeLMError):
            open_state_dict(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 200 * steps + 1_000_000


def test_shared_containers_cost_what_they_weigh(zip_of: Callable[..., Path]) -> None:
    # A list of two references to a list of two references …, 2**200 leaves deep: hashing, comparing or
    # printing it would not end.
    doubled = (
        b"\x80\x04K\x01"
        + b"\x94h\x00\x86"
        + b"".join(b"\x94j" + i.to_bytes(4, "little") + b"\x86" for i in range(1, 200))
    )
    with pytest.raises(FormatError, match="no tensors by name"):
        open_state_dict(zip_of(doubled + b"."))
    with pytest.raises(FormatError, match="a tuple as a dictionary key"):
        open_state_dict(zip_of(doubled + b"\x94}j\xc8\x00\x00\x00Ns."))
    with pytest.raises(FormatError, match="a tuple as a persistent id"):
        open_state_dict(zip_of(doubled + b"Q."))
