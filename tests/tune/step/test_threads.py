"""Narrow networks are trained with one BLAS thread, and only while they are trained."""

from __future__ import annotations

import ctypes

import pytest

from edgelm.blas import OPENBLAS
from edgelm.tune.step.threads import training_threads


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    try:
        found = ctypes.CDLL(OPENBLAS)
    except OSError:
        pytest.skip("OpenBLAS is not installed")
    before = found.openblas_get_num_threads()
    found.openblas_set_num_threads(2)
    yield found  # type: ignore[misc]
    found.openblas_set_num_threads(before)


@pytest.mark.parametrize(
    ("config", "threads"), [({"hidden_size": 128}, 1), ({"hidden_size": 576}, 2), ({}, 2)]
)
def test_the_width_decides(library: ctypes.CDLL, config: dict[str, int], threads: int) -> None:
    with training_threads(config):
        assert library.openblas_get_num_threads() == threads
    assert library.openblas_get_num_threads() == 2


def test_what_the_user_said_stands(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    with training_threads({"hidden_size": 128}):
        assert library.openblas_get_num_threads() == 2
