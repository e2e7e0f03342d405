"""`edgelm doctor`: every line has a status, and every problem a remedy."""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from edgelm.cli.commands import doctor
from edgelm.device import simulate
from edgelm.errors import EdgeLMError
from edgelm.pricing import machine_rates as probe

MAC = simulate("M3", 16)
CPU = dataclasses.replace(MAC, backend="cpu", chip="a CPU", generation=None, compiler="/usr/bin/g++")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_READ_BYTES", 1 << 22)


@pytest.mark.slow
def test_every_check_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.run(argparse.Namespace(json=True))
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert {
        "Python",
        "mlx",
        "mlx-lm",
        "torch",
        "backend",
        "memory",
        "EDGELM_HOME",
        "library",
        "matmul",
        "round trip",
    } <= checks.keys()
    for check in checks.values():
        assert check["value"]
        assert (check["status"] == "ok") == (check["remedy"] is None)


def test_what_was_measured_has_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "measure_matmul_flops_per_s", lambda: 2.5e12)
    monkeypatch.setattr(
        probe, "measure_half_flops_per_s", lambda dtype: {mx.float16: 4.25e12, mx.bfloat16: 3e9}[dtype]
    )
    monkeypatch.setattr(probe, "measure_round_trip_s", lambda: 0.00123)
    monkeypatch.setattr(probe, "measure_read_bytes_per_s", lambda: 1.5e11)
    checks = {check.name: check for check in doctor.run_checks()}
    assert {name: checks[name].value for name in ("matmul", "round trip", "memory reads")} == {
        "matmul": "2,500 GFLOP/s in float32, 4,250 GFLOP/s in float16, 3 GFLOP/s in bfloat16",
        "round trip": "1,230 µs from asking for a number to having it",
        "memory reads": "150 GB/s measured",
    }


@pytest.mark.slow
def test_the_text_shows_status_value_and_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.run(argparse.Namespace(json=False))
    shown = capsys.readouterr().out
    assert "ok" in shown
    assert "EDGELM_HOME" in shown


def test_a_broken_installation_fails_and_says_what(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = doctor.Check("mlx", "fail", "not installed", "install edgelm again")
    monkeypatch.setattr(doctor, "run_checks", lambda: iter([broken]))
    with pytest.raises(EdgeLMError, match="broken: mlx"):
        doctor.run(argparse.Namespace(json=False))
    assert "→ install edgelm again" in capsys.readouterr().out


def test_a_missing_distribution_is_a_failure() -> None:
    assert doctor.check_version("edgelm-no-such-thing").status == "fail"


@pytest.mark.parametrize(
    ("check", "remedy"),
    [
        (doctor.check_torch(True), "slower"),
        (doctor.check_blas(dataclasses.replace(CPU, has_fast_blas=False), 7e9), "libopenblas0"),
        (doctor.check_compiler(dataclasses.replace(CPU, compiler=None), None), "apt install g++"),
        (doctor.check_compiler(CPU, "cannot execute cc1plus\nand more"), "writable"),
        (doctor.check_memory(dataclasses.replace(MAC, available_bytes=10**9)), "close other programs"),
        (doctor.check_open_files(256), "ulimit -n"),
    ],
    ids=lambda value: value.name if isinstance(value, doctor.Check) else "",
)
def test_what_slows_edgelm_is_warned_of(check: doctor.Check, remedy: str) -> None:
    assert check.status == "warn"
    assert remedy in (check.remedy or "")


@pytest.mark.parametrize(
    ("core", "rows", "environment", "status", "said", "remedy"),
    [
        (
            "SkylakeX",
            True,
            {},
            "ok",
            "kernels for SkylakeX, products with one row by the matrix-vector",
            None,
        ),
        ("Prescott", True, {}, "warn", "kernels for Prescott", "install a newer OpenBLAS"),
        ("Prescott", True, {"OPENBLAS_CORETYPE": "Prescott"}, "warn", "Prescott", "unset OPENBLAS_CORETYPE"),
        (
            "Haswell",
            False,
            {"EDGELM_ROW_PRODUCTS": "0"},
            "warn",
            "general routine",
            "unset EDGELM_ROW_PRODUCTS",
        ),
        ("Haswell", False, {"PATH": ""}, "warn", "general routine", "apt install g++"),
        ("neoversen1", True, {}, "ok", "kernels for neoversen1", None),
    ],
)
def test_which_kernels_and_routine_openblas_multiplies_with(
    core: str, rows: bool, environment: dict[str, str], status: str, said: str, remedy: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.delenv("EDGELM_ROW_PRODUCTS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("edgelm.blas.core_type", lambda: core)
    monkeypatch.setattr("edgelm.blas.has_row_products", lambda: rows)
    monkeypatch.setattr("edgelm.blas.core_for", lambda _: "SKYLAKEX")
    check = doctor.check_blas(CPU, 1e11)
    assert check.status == status
    assert said in check.value
    assert (remedy in (check.remedy or "")) if remedy else check.remedy is None


def test_the_oldest_kernels_are_right_for_the_oldest_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelm.blas.core_type", lambda: "Prescott")
    monkeypatch.setattr("edgelm.blas.has_row_products", lambda: True)
    monkeypatch.setattr("edgelm.blas.core_for", lambda _: None)
    assert doctor.check_blas(CPU, 1e10).status == "ok"


def test_a_good_machine_has_no_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelm.blas.core_type", lambda: "SkylakeX")
    monkeypatch.setattr("edgelm.blas.has_row_products", lambda: True)
    checks = (
        doctor.check_torch(False),
        doctor.check_blas(CPU, 1e11),
        doctor.check_compiler(CPU, None),
        doctor.check_memory(MAC),
        doctor.check_open_files(4096),
    )
    assert {check.status for check in checks} == {"ok"}


def test_a_home_that_is_a_file_is_a_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write_text("")
    assert doctor.check_home().status == "fail"
    monkeypatch.setenv("EDGELM_HOME", str(home / "below"))
    assert doctor.check_home().status == "fail"


def test_a_broken_model_is_named(home: Path) -> None:
    (home / "models" / "half").mkdir(parents=True)
    assert "half" in doctor.check_library().value


@pytest.mark.slow
def test_neither_mlx_lm_nor_transformers_is_imported() -> None:
    code = (
        "import sys; from edgelm.cli.commands import doctor; list(doctor.run_checks());"
        "print([m for m in ('mlx_lm', 'transformers', 'torch') if sys.modules.get(m)])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_command_line_finds_it(edgelm: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    said = edgelm("doctor", "--json")
    assert said.returncode == 0
    assert json.loads(said.stdout)["checks"]
