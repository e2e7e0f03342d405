"""TF32 is off where accuracy is the point, before MLX is imported, and a user's own setting stays."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = (
    "import os, sys; import edgelm_converters;print(os.environ['MLX_ENABLE_TF32'], 'mlx.core' in sys.modules)"
)


@pytest.mark.parametrize(("before", "after"), [(None, "0"), ("1", "1"), ("0", "0")])
def test_converters_turn_it_off_before_mlx_is_there(before: str | None, after: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "MLX_ENABLE_TF32"}
    environment = {**kept, "PYTHONPATH": os.pathsep.join(sys.path)}
    if before is not None:
        environment["MLX_ENABLE_TF32"] = before
    said = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=True
    )
    assert said.stdout.split() == [after, "False"]
