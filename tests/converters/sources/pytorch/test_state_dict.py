"""Every tensor that torch can save is read back as torch itself reads it."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from edgelm.errors import FormatError, NotFoundError
from edgelm_converters.sources.pytorch.state_dict import open_state_dict

FORMATS: list[dict[str, Any]] = [
    {},
    {"_use_new_zipfile_serialization": False},
    {"pickle_protocol": 1},
    {"pickle_protocol": 5},
    {"_use_new_zipfile_serialization": False, "pickle_protocol": 4},
]
DTYPES = {
    "float32": mx.float32,
    "float16": mx.float16,
    "bfloat16": mx.bfloat16,
    "float64": mx.float32,
    "int64": mx.int64,
    "int32": mx.int32,
    "int16": mx.int16,
    "int8": mx.int8,
    "uint8": mx.uint8,
    "bool": mx.bool_,
    "uint16": mx.uint16,
    "uint32": mx.uint32,
    "uint64": mx.uint64,
}


def load(path: Path, torch: Any, options: dict[str, Any]) -> dict[str, Any]:
    """As torch reads it: its own restricted reader knows protocol 2 only, and these files are ours."""
    return torch.load(path, weights_only=options.get("pickle_protocol", 2) == 2)


def check_equal(path: Path, expected: dict[str, Any], as_numpy: Callable[[Any], np.ndarray]) -> None:
    tensors = open_state_dict(path)
    assert tensors.keys() == expected.keys()
    for name, lazy in tensors.items():
        value = lazy.read()
        assert (value.shape, value.dtype) == (lazy.shape, lazy.dtype)
        assert lazy.shape == tuple(expected[name].shape)
        wanted = as_numpy(expected[name])
        if wanted.dtype == np.float64:
            with np.errstate(over="ignore"):
                wanted = wanted.astype(np.float32)
        np.testing.assert_array_equal(as_numpy(value), wanted, err_msg=name)


@pytest.mark.parametrize("options", FORMATS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_read_exactly(
    torch: Any, tmp_path: Path, as_numpy: Callable[[Any], np.ndarray], dtype: str, options: dict[str, Any]
) -> None:
    torch.manual_seed(1)
    values = (torch.randn(5, 7) * 40).abs() if dtype.startswith(("u", "b")) else torch.randn(5, 7) * 40
    path = tmp_path / "w.bin"
    saved = {"w": values.to(getattr(torch, dtype)), "other": torch.ones(3)}
    torch.save(saved, path, **options)
    can_torch = (
        "_use_new_zipfile_serialization" not in options or not dtype.startswith("uint") or dtype == "uint8"
    )
    check_equal(path, load(path, torch, options) if can_torch else saved, as_numpy)
    lazy = open_state_dict(path)["w"]
    assert lazy.dtype == DTYPES[dtype]
    assert lazy.stored_as == f"torch.{dtype}"


@pytest.mark.parametrize("options", FORMATS, ids=str)
def test_views_are_read_as_what_they_show(
    torch: Any, tmp_path: Path, as_numpy: Callable[[Any], np.ndarray], options: dict[str, Any]
) -> None:
    base = torch.arange(120.0).reshape(2, 3, 4, 5)
    tied = torch.randn(4, 6, dtype=torch.bfloat16)
    path = tmp_path / "w.bin"
    torch.save(
        {
            "base": base,
            "transposed": base[0, 0].t(),
            "permuted": base.permute(3, 0, 2, 1),
            "columns": base[..., 1:3],
            "every other": base[:, ::2, 1::2],
            "one": base[1, 2, 3, 4],
            "tail": base[1, 1:],
            "embed": tied,
            "head": tied,
            "half transposed": tied.t(),
            "expanded": torch.arange(4.0).expand(3, 4),
            "empty": torch.zeros(0, 3),
            "parameter": torch.nn.Parameter(torch.randn(3)),
            "infinite": torch.tensor([float("inf"), float("nan"), -0.0]),
            "beyond float32": torch.tensor([1e300, -1e300, 1e-300], dtype=torch.float64),
        },
        path,
        **options,
    )
    check_equal(path, load(path, torch, options), as_numpy)


def test_parameters_with_attributes_and_metadata_are_read(
    torch: Any, tmp_path: Path, as_numpy: Callable[[Any], np.ndarray]
) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    state = model.state_dict(keep_vars=True)
    state["0.weight"].note = "seen"
    torch.save(state, tmp_path / "w.bin")
    assert set(open_state_dict(tmp_path / "w.bin")) == set(state)
    torch.save(model.state_dict(), tmp_path / "w.bin")
    check_equal(tmp_path / "w.bin", load(tmp_path / "w.bin", torch, {}), as_numpy)


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "model_state_dict"])
def test_a_wrapped_state_dict_is_found(torch: Any, tmp_path: Path, wrapper: str) -> None:
    path = tmp_path / "w.bin"
    extras = {
        "epoch": 3,
        "loss": 0.5,
        "shape": torch.Size([2]),
        "dtype": torch.float16,
        "history": [1, {"a": None}],
    }
    torch.save({wrapper: {"w": torch.ones(2)}, **extras}, path)
    assert list(open_state_dict(path)) == ["w"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: {"model": {"a": t}, "state_dict": {"b": t}}, "at 'state_dict' and at 'model'"),
        (lambda t: {"a": t, "model": {"b": t}}, "at its top and at 'model'"),
        (lambda t: {"epoch": 3}, "no tensors by name"),
        (lambda t: [t], "no tensors by name"),
        (lambda t: t, "no tensors by name"),
        (lambda t: {1: t}, "named 1, expected text"),
    ],
)
def test_what_is_no_single_state_dict_is_refused(torch: Any, tmp_path: Path, make: Any, message: str) -> None:
    torch.save(make(torch.ones(2)), tmp_path / "w.bin")
    with pytest.raises(FormatError, match=message):
        open_state_dict(tmp_path / "w.bin")


@pytest.mark.parametrize("options", FORMATS[:2], ids=str)
def test_opening_reads_no_weights_and_reading_only_its_own(
    torch: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    big = torch.arange(4_000_000, dtype=torch.float32)  # 16 MB
    path = tmp_path / "w.bin"
    torch.save(
        {"rows": big.view(2000, 2000)[1234:1236], "spread": big[::400_000], "big": big}, path, **options
    )
    tracemalloc.start()
    tensors = open_state_dict(path)
    rows, spread = tensors["rows"].read(), tensors["spread"].read()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 300_000
    assert rows[0, 0].item() == 1234 * 2000
    assert spread.tolist() == list(range(0, 4_000_000, 400_000))
    assert tensors["big"].read()[-1].item() == 3_999_999


def test_a_file_that_shrinks_after_opening_is_an_error(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    torch.save({"w": torch.ones(1000), "t": torch.ones(30, 40).t()}, path)
    tensors = open_state_dict(path)
    path.write_bytes(path.read_bytes()[:500])
    for lazy in tensors.values():
        with pytest.raises(FormatError):
            lazy.read()
    path.unlink()
    for lazy in tensors.values():
        with pytest.raises(FormatError, match="cannot be read"):
            lazy.read()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"w\.bin"):
        open_state_dict(tmp_path / "w.bin")
    with pytest.raises(FormatError, match="directory"):
        open_state_dict(tmp_path)


def test_torch_is_not_needed(torch: Any, tmp_path: Path) -> None:
    torch.save({"w": torch.arange(3.0)}, tmp_path / "w.bin")
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from edgelm_converters.sources.pytorch.state_dict import open_state_dict\n"
        "print(open_state_dict(Path(sys.argv[1]))['w'].read().tolist())\n"
        "assert not {'transformers', 'mlx_lm'} & sys.modules.keys()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "w.bin"],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.stdout == "[0.0, 1.0, 2.0]\n"
