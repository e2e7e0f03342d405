"""What a machine is taken to be, and what is asked of it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from edgelm import device
from edgelm.errors import OptionError
from edgelm.machine.gpu import chips
from edgelm.machine.memory import GIB, Memory, bound_by_cgroup, measure_memory, parse_meminfo, parse_vm_stat

SIZES_GB = (8, 16, 18, 24, 36, 64, 128)
CHIP_NAMES = [chip.name for chip in chips.CHIPS]


def _cpu(available_gb: float, total_gb: float = 32) -> device.Device:
    mac = device.simulate("M1", total_gb)
    return dataclasses.replace(
        mac, backend="cpu", chip="a CPU", generation=None, available_bytes=int(available_gb * GIB)
    )


@pytest.mark.parametrize("name", ["M3 Pro", "m3 pro", "Apple M3 Pro", "m3pro", " M3-Pro "])
def test_a_chip_is_found_however_it_is_written(name: str) -> None:
    simulated = device.simulate(name, 18)
    assert simulated.chip == "Apple M3 Pro"
    assert simulated.generation == 3
    assert simulated.memory_bytes == 18 * GIB
    assert simulated.bandwidth_bytes_per_s == 150_000_000_000


def test_an_unknown_chip_gets_the_nearest_names() -> None:
    with pytest.raises(OptionError, match="'M3 Prro', expected one of M1") as refused:
        device.simulate("M3 Prro", 18)
    assert "'M3 Pro'" in (refused.value.hint or "")


@pytest.mark.parametrize("memory_gb", [0, -8, float("nan"), float("inf"), 1e9])
def test_absurd_memory_is_refused(memory_gb: float) -> None:
    with pytest.raises(OptionError, match="memory is"):
        device.simulate("M1", memory_gb)


@pytest.mark.parametrize(
    ("name", "cores", "expected"),
    [
        ("M3 Max", 14, 300),
        ("M3 Max", 16, 400),
        ("M3 Max", None, 300),
        ("M4 Max", 16, 546),
        ("M1", 8, 68),
        ("M5 Max", 18, 460),
        ("M5 Pro", 15, 307),
        ("M3 Ultra", 28, 819),
        ("A18 Pro", 6, 60),
    ],
)
def test_core_counts_tell_two_versions_of_a_chip_apart(name: str, cores: int | None, expected: int) -> None:
    assert chips.require_chip(name).bandwidth_with(cores) == expected * 10**9


@pytest.mark.parametrize(
    ("name", "gpu", "memory", "expected"),
    [
        ("M5 Max", 40, 36, 614), ("M5 Max", 32, 128, 460), ("M5 Max", None, 128, 614), ("M5 Max", None, 36, 460),
        ("M3 Max", 30, 96, 300), ("M3 Max", None, 96, 300), ("M4 Max", 40, None, 546), ("M5 Max", None, None, 460),
    ],
)  # fmt: skip
def test_gpu_cores_and_memory_tell_them_apart_too(
    name: str, gpu: int | None, memory: int | None, expected: int
) -> None:
    found = chips.require_chip(name).bandwidth_with(gpu_cores=gpu, memory_gb=memory)
    assert found == expected * 10**9


def test_a_mac_of_36_gb_is_not_taken_for_the_larger_one() -> None:
    assert device.simulate("M5 Max", 36).bandwidth_bytes_per_s == 460 * 10**9
    assert device.simulate("M5 Max", 128).bandwidth_bytes_per_s == 614 * 10**9


@pytest.mark.parametrize(
    ("memory_gb", "reported_bytes"),
    [  # `device_info()` and `recommendedMaxWorkingSetSize` in public reports
        (16, 12_713_120_000), (24, 19_069_670_000), (32, 26_800_600_000), (36, 30_150_672_384), (48, 40_200_896_512),
        (64, 55_662_788_608), (128, 115_448_725_504), (256, 223_338_299_392), (512, 498_216_206_336),
    ],
)  # fmt: skip
def test_the_working_set_of_a_simulated_mac_is_what_metal_reports(
    memory_gb: int, reported_bytes: int
) -> None:
    mac = device.simulate("M4 Max", memory_gb)
    assert device.recommended_working_set_bytes(mac) == pytest.approx(reported_bytes, rel=1e-3)


def test_more_memory_is_never_less_for_the_gpu() -> None:
    sizes = [device.recommended_working_set_bytes(device.simulate("M3 Ultra", gb)) for gb in range(8, 600)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("name", "generation"),
    [("Apple M7 Ultra", 7), ("Apple A18 Pro", 4), ("Apple M1", 1), ("AMD EPYC", None), ("Mx", None)],
)
def test_generation_is_read_from_chips_not_in_the_table_too(name: str, generation: int | None) -> None:
    assert chips.generation_of(name) == generation


@pytest.mark.parametrize("chip", CHIP_NAMES)
def test_float16_is_preferred_exactly_where_bfloat16_is_not_native(chip: str) -> None:
    expected = "float16" if chip.startswith(("M1", "M2")) else "bfloat16"
    assert device.preferred_dtype(device.simulate(chip, 16)) == expected


def test_only_the_cpu_casts_and_unpacks() -> None:
    mac, cpu = device.simulate("M3", 16), _cpu(available_gb=10)
    assert device.runtime_dtype(mac) is None
    assert device.runtime_dtype(cpu) == "float32"
    assert not device.should_dequantize(mac, 1)
    assert device.should_dequantize(cpu, 8 * GIB)
    assert not device.should_dequantize(cpu, 10 * GIB)


@pytest.mark.parametrize("memory_gb", SIZES_GB)
def test_budgets_grow_with_the_machine_and_leave_room(memory_gb: int) -> None:
    mac = device.simulate("M2", memory_gb)
    budget = device.memory_budget_bytes(mac)
    assert (
        0.6 * mac.memory_bytes < budget < device.recommended_working_set_bytes(mac) < 0.85 * mac.memory_bytes
    )
    limits = [device.cache_limit_bytes(mac, in_use) for in_use in (0, budget // 2, budget, 2 * budget)]
    assert limits == sorted(limits, reverse=True)
    assert 0.02 * mac.memory_bytes - 1 < limits[-1] <= limits[0] <= 0.1 * mac.memory_bytes


def test_metal_own_working_set_wins_over_the_rule() -> None:
    said = dataclasses.replace(device.simulate("M4 Max", 128), working_set_bytes=115_448_725_504)
    assert device.recommended_working_set_bytes(said) == 115_448_725_504


def test_off_metal_only_what_is_available_counts() -> None:
    assert device.memory_budget_bytes(_cpu(available_gb=10)) == 10 * GIB * 90 // 100


def test_this_machine_is_described() -> None:
    found = device.detect()
    assert found.backend in ("metal", "cuda", "cpu")
    assert found.chip
    assert 0 < found.available_bytes <= found.memory_bytes
    assert 0 < device.memory_budget_bytes(found) < found.memory_bytes


def test_meminfo() -> None:
    text = "MemTotal:       32768000 kB\nMemFree:          100 kB\nMemAvailable:   16384000 kB\n"
    assert parse_meminfo(text) == 16_384_000 * 1024
    assert parse_meminfo("MemTotal: 1 kB\n") is None


def test_vm_stat_counts_what_needs_no_swapping() -> None:
    text = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free:                               10000.\n"
        "Pages active:                            300000.\n"
        "Pages inactive:                          200000.\n"
        "Pages speculative:                         5000.\n"
        "Pages throttled:                              0.\n"
        "Pages wired down:                        150000.\n"
        "Pages purgeable:                           2000.\n"
        '"Translation faults":                 1234567890.\n'
    )
    assert parse_vm_stat(text) == 217_000 * 16384
    assert parse_vm_stat("nothing of the kind") is None


@pytest.mark.parametrize(
    "names",
    [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")],
)
def test_a_container_is_as_large_as_its_limit(tmp_path: Path, names: tuple[str, str]) -> None:
    for name, value in zip(names, (4 * GIB, GIB), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    assert bound_by_cgroup(Memory(32 * GIB, 30 * GIB), tmp_path) == Memory(4 * GIB, 3 * GIB)


@pytest.mark.parametrize("limit", ["max", str(1 << 62)])
def test_an_unlimited_container_is_as_large_as_the_machine(tmp_path: Path, limit: str) -> None:
    (tmp_path / "memory.max").write_text(limit)
    assert bound_by_cgroup(Memory(32 * GIB, 30 * GIB), tmp_path) == Memory(32 * GIB, 30 * GIB)


def test_measured_memory_is_plausible() -> None:
    memory = measure_memory()
    assert GIB // 4 < memory.available_bytes <= memory.total_bytes


def test_import_is_light() -> None:
    code = "import sys, edgelm.device; print([m for m in ('mlx', 'mlx.core', 'numpy') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


_COMPILE = """
from edgelm import device
machine = device.detect()
device.configure_mlx(machine)
import mlx.core as mx
print(machine.compiler, mx.compile(lambda x: mx.exp(x) + mx.sin(x) * x)(mx.zeros((3,))).tolist())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only MLX's CPU backend calls a compiler")
@pytest.mark.parametrize("has_broken_compiler", [False, True])
def test_mlx_runs_where_the_compiler_is_missing_or_broken(tmp_path: Path, has_broken_compiler: bool) -> None:
    if has_broken_compiler:
        # Answers --version as g++ does, and fails at everything else.
        compiler = tmp_path / "g++"
        compiler.write_text('#!/bin/sh\n[ "$1" = --version ] || exit 1\n')
        compiler.chmod(0o755)
    said = subprocess.run(
        [sys.executable, "-c", _COMPILE],
        env={"PATH": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    found = str(tmp_path / "g++") if has_broken_compiler else "None"
    assert said.stdout.strip() == f"{found} [1.0, 1.0, 1.0]"


def test_the_cache_limit_is_set_and_nothing_is_wired(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlx.core as mx

    limits: list[int] = []
    monkeypatch.setattr(mx, "set_cache_limit", limits.append)
    monkeypatch.setattr(mx, "set_wired_limit", lambda _: pytest.fail("wired"))
    device.configure_mlx(device.simulate("M3", 16))
    assert 0 < limits[0] <= 16 * GIB // 10
