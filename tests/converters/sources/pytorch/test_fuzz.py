"""Whatever the bytes, the readers end in a result or an EdgeLMError, within bounded memory."""

from __future__ import annotations

import io
import pickle
import pickletools
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelm.errors import EdgeLMError, FormatError
from edgelm_converters.sources.pytorch.state_dict import open_state_dict

MOST_BYTES = 8_000_000
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_all(path: Path) -> None:
    """Open and read everything; only an EdgeLMError may end it, and little memory may be used."""
    tracemalloc.start()
    try:
        for lazy in open_state_dict(path).values():
            array = lazy.read()
            assert (array.shape, array.dtype) == (lazy.shape, lazy.dtype)
    except EdgeLMError:
        pass
    finally:
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes < MOST_BYTES


@pytest.fixture(scope="module", params=["zip", "legacy", "zip, protocol 4"])
def valid(request: pytest.FixtureRequest, torch: Any) -> bytes:
    """A small file with views, tied weights and a parameter."""
    base = torch.arange(24.0).reshape(4, 6)
    state = {
        "a": base,
        "b": base[1:, ::2],
        "c": base.t(),
        "d": torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16)),
        "e": torch.tensor(True),
        "f": torch.zeros(2, dtype=torch.uint16) if request.param == "zip" else torch.zeros(2),
    }
    options: dict[str, Any] = {
        "zip": {},
        "legacy": {"_use_new_zipfile_serialization": False},
        "zip, protocol 4": {"pickle_protocol": 4},
    }[request.param]
    file = io.BytesIO()
    torch.save({"state_dict": state, "step": 5}, file, **options)
    return file.getvalue()


@pytest.mark.slow
@FUZZ
@given(data=st.data())
def test_mutated_files(valid: bytes, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(valid)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 8, b"\0" * 8]))
        if data.draw(st.booleans()):
            content[at : at + len(patch)] = patch
        else:
            content[at:at] = patch
    path = tmp_path / "w.bin"
    path.write_bytes(content)
    read_all(path)


@FUZZ
@given(data=st.data())
def test_truncated_files(valid: bytes, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(valid[: data.draw(st.integers(0, len(valid) - 1))])
    with pytest.raises(FormatError):
        open_state_dict(path)


OPCODES = [bytes([code]) for code in range(256) if chr(code) in {op.code for op in pickletools.opcodes}]
PIECES = st.one_of(
    st.sampled_from(OPCODES),
    st.binary(max_size=6),
    st.sampled_from(
        [
            b"ccollections\nOrderedDict\n",
            b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"ctorch._utils\n_rebuild_tensor_v3\n",
            b"ctorch._utils\n_rebuild_parameter\n",
            b"ctorch\nFloatStorage\n",
            b"ctorch.storage\nUntypedStorage\n",
            b"ctorch\nSize\n",
            b"ctorch\nfloat64\n",
            b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ",
            b"K\x02K\x03\x86K\x03K\x01\x86",
            b"\x89N",
            b"K\x00",
            b"tR",
            b"}X\x01\x00\x00\x00w",
            b"s.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\x8b\xff\xff\xff\x7f",
            b"q\x00h\x00",
        ]
    ),
)


@pytest.mark.slow
@FUZZ
@given(pieces=st.lists(PIECES, max_size=40))
def test_random_opcodes(tmp_path: Path, pieces: list[bytes]) -> None:
    path = tmp_path / "w.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"".join(pieces))
        archive.writestr("archive/data/0", bytes(24))
    read_all(path)
    path.write_bytes(b"".join(pieces))
    read_all(path)


class Anything:
    """Pickles as a call of `print`, whatever the arguments."""

    def __init__(self, arguments: Any) -> None:
        self.arguments = arguments

    def __reduce__(self) -> Any:
        return (print, (self.arguments,))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | inner.map(Anything)
    | st.tuples(inner, inner) | st.lists(st.integers()).map(frozenset),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.slow
@FUZZ
@given(value=VALUES, protocol=st.integers(0, 5))
def test_arbitrary_pickles(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], value: Any, protocol: int
) -> None:
    path = tmp_path / "w.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value, protocol))
    with pytest.raises(EdgeLMError):
        open_state_dict(path)
    assert capfd.readouterr().out == ""
