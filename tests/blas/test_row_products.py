"""Products with one row go through the matrix-vector routine, and every product is what it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgelm.blas import preload_blas
from edgelm.blas.compiler import find_compiler

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not preload_blas() or find_compiler() is None,
    reason="needs OpenBLAS and g++",
)

# Every way in which MLX asks for a product with one row, and some with more; numpy in float64 is the reference.
_PRODUCTS = """
import json
import sys
from edgelm.blas import has_row_products, preload_blas
preload_blas()
import mlx.core as mx
import numpy as np

draw = np.random.default_rng(0)
def made(*shape):
    return draw.standard_normal(shape).astype("float32")

def apart(found, expected):
    return float(np.abs(np.array(found) - expected).max())

errors = {}
for n, k in ((1, 1), (1, 7), (9, 1), (5, 3), (64, 33), (300, 257), (2049, 64)):
    x, w, c = made(1, k), made(n, k), made(1, n)
    exact = x.astype("float64") @ w.T.astype("float64")
    errors[f"rows {n} {k}"] = apart(mx.array(x) @ mx.array(w).T, exact)
    errors[f"columns {n} {k}"] = apart(mx.array(x) @ mx.contiguous(mx.array(w).T), exact)
    errors[f"transposed {n} {k}"] = apart(mx.array(x.T).T @ mx.array(w).T, exact)
    errors[f"added {n} {k}"] = apart(mx.addmm(mx.array(c), mx.array(x), mx.array(w).T, 0.5, 2.0), 0.5 * exact + 2.0 * c)
    errors[f"many {n} {k}"] = apart(mx.array(np.repeat(x, 5, 0)) @ mx.array(w).T, np.repeat(exact, 5, 0))
q, keys = made(2, 4, 1, 16), made(2, 4, 21, 16)
exact = q.astype("float64") @ keys.transpose(0, 1, 3, 2).astype("float64")
errors["heads"] = apart(mx.array(q) @ mx.array(keys).transpose(0, 1, 3, 2), exact)
errors["values"] = apart(mx.array(exact.astype("float32")) @ mx.array(keys), exact @ keys)
column = mx.array(made(33, 3))[:, 1:2]
errors["a column as a row"] = apart(column.T @ mx.array(w[:, :33]).T, np.array(column).T.astype("float64") @ w[:, :33].T)
print(json.dumps({"used": has_row_products(), "errors": errors}))
"""


def _products(**said: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **said}
    run = subprocess.run(
        [sys.executable, "-c", _PRODUCTS], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.slow
def test_every_product_is_right(tmp_path: Path) -> None:
    found = _products(EDGELM_HOME=str(tmp_path))
    assert found["used"]
    assert len(list(tmp_path.rglob("row_products-*.so"))) == 1
    assert max(found["errors"].values()) < 1e-4, found["errors"]


@pytest.mark.slow
def test_without_a_compiler_everything_goes_the_general_way(tmp_path: Path) -> None:
    found = _products(EDGELM_HOME=str(tmp_path), PATH="")
    assert not found["used"]
    assert max(found["errors"].values()) < 1e-4


@pytest.mark.slow
def test_a_compiler_that_fails_is_done_without(tmp_path: Path) -> None:
    compiler = tmp_path / "bin" / "g++"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    assert not _products(EDGELM_HOME=str(tmp_path / "home"), PATH=str(compiler.parent))["used"]


@pytest.mark.slow
def test_a_home_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    assert not _products(EDGELM_HOME=str(blocked))["used"]


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    assert not _products(EDGELM_HOME=str(tmp_path), EDGELM_ROW_PRODUCTS="0")["used"]
    assert not list(tmp_path.rglob("*.so"))
