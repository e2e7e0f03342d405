"""float64 in safetensors, which `mx.load` refuses for the whole file, is refused by the tensor's name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgelm.errors import UnsupportedError
from edgelm.model.safetensors_header import read_header
from edgelm_converters.sources.huggingface import _lazy, _Shard


def test_float64_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"model.norm.weight": np.ones((2,))}, str(file))
    with pytest.raises(UnsupportedError, match=r"'model\.norm\.weight'.* is F64"):
        _lazy(_Shard(file), "model.norm.weight", read_header(file)["model.norm.weight"])
