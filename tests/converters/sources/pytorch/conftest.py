"""Files in torch's formats: written by torch, and put together by hand where torch would not write them."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


@pytest.fixture(scope="session")
def torch() -> Any:
    import torch

    return torch


@pytest.fixture
def zip_of(tmp_path: Path) -> Callable[..., Path]:
    """Writes an archive with the given pickle and storages, as torch.save lays it out."""

    def write(pickled: bytes, storages: dict[str, bytes] | None = None, **zip_options: Any) -> Path:
        path = tmp_path / "hand.bin"
        with zipfile.ZipFile(path, "w", **zip_options) as archive:
            archive.writestr("archive/data.pkl", pickled)
            archive.writestr("archive/byteorder", b"little")
            for key, data in (storages or {}).items():
                archive.writestr(f"archive/data/{key}", data)
        return path

    return write


@pytest.fixture
def legacy_of(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes a legacy file with the given pickle and no storages."""

    def write(pickled: bytes) -> Path:
        path = tmp_path / "legacy.bin"
        head = b"".join(pickle.dumps(value, 2) for value in (MAGIC, PROTOCOL, {"little_endian": True}))
        path.write_bytes(head + pickled + pickle.dumps([], 2))
        return path

    return write


@pytest.fixture(scope="session")
def as_numpy() -> Callable[[Any], np.ndarray]:
    """An MLX array or a torch tensor as numpy, exactly; bfloat16 widens to float32."""

    def convert(array: Any) -> np.ndarray:
        import mlx.core as mx
        import torch

        if isinstance(array, torch.Tensor):
            array = array.detach()
            return (array.float() if array.dtype == torch.bfloat16 else array).numpy()
        return np.array(array.astype(mx.float32) if array.dtype == mx.bfloat16 else array)

    return convert
