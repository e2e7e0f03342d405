"""OpenBLAS gets kernels that fit the processor where it does not know it, and only there."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from edgelm.blas import OPENBLAS, kernels

AVX512 = frozenset({"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl", "avx2", "fma", "sse4_2"})


@pytest.mark.parametrize(
    ("flags", "core"),
    [
        (AVX512, "SKYLAKEX"),
        (AVX512 - {"avx512vl"}, "HASWELL"),
        (frozenset({"avx2", "fma"}), "HASWELL"),
        (frozenset({"avx2"}), None),
        (frozenset({"avx", "sse4_2"}), None),
        (frozenset(), None),
    ],
)
def test_instructions_decide(flags: frozenset[str], core: str | None) -> None:
    assert kernels.core_for(flags) == core


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(OPENBLAS)
    except OSError:
        pytest.skip("OpenBLAS is not installed")


def test_the_check_accepts_a_blas_that_is_right(library: ctypes.CDLL) -> None:
    assert kernels.multiplies_exactly(library)


def test_the_check_sees_one_wrong_element(library: ctypes.CDLL) -> None:
    class Wrong:
        @staticmethod
        def cblas_sgemm(*arguments: object) -> None:
            library.cblas_sgemm(*arguments)
            product = arguments[12]
            product[len(product) - 1] += 1  # type: ignore[index,arg-type,operator]

    assert not kernels.multiplies_exactly(Wrong())  # type: ignore[arg-type]


_CORE = """
import os
from edgelm.blas import core_type, preload_blas
assert preload_blas()
print(core_type(), os.environ.get("OPENBLAS_CORETYPE"))
"""


@pytest.mark.usefixtures("library")
def test_a_choice_of_the_user_stands() -> None:
    assert _core_in_a_process({"OPENBLAS_CORETYPE": "Prescott"}) == ["Prescott", "Prescott"]


@pytest.mark.usefixtures("library")
def test_no_processor_with_avx2_is_left_with_the_fallback() -> None:
    core, left_behind = _core_in_a_process({})
    if kernels.core_for(kernels.processor_flags()) is not None:
        assert core != "Prescott"
    assert left_behind == "None"  # other libraries of the process read the variable as well


def _core_in_a_process(said: dict[str, str]) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), **said}
    run = subprocess.run(
        [sys.executable, "-c", _CORE], env=environment, capture_output=True, text=True, check=True
    )
    return run.stdout.split()
